"""The frames of a clip that a vision-language model sees."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from av.video.frame import VideoFrame

from core.arrays import UInt8Array
from core.video_info import VideoInfo
from media.decode import VideoReader
from media.images import encode_jpeg, sample_image
from models.captions.chat import LabeledImage
from models.captions.settings import FrameSettings

JPEG_QUALITY = 85


class FrameSampler(Protocol):
    """Which frames of a clip are sent, and as which images."""

    def indices(self, num_frames: int, fps: float) -> list[int]:
        """Increasing indices of the sampled frames, always including 0.

        `num_frames` is at least 1.
        """

    def render(self, frame: VideoFrame, info: VideoInfo) -> UInt8Array:
        """(h, w, 3) uint8 RGB image of a frame."""


class EvenSampler:
    """Samples frames at even distances, at most `max_frames`; images keep their aspect ratio."""

    def __init__(self, settings: FrameSettings) -> None:
        self._settings = settings

    def indices(self, num_frames: int, fps: float) -> list[int]:
        """See `FrameSampler`."""
        settings = self._settings
        count = min(settings.max_frames, 1 + int((num_frames - 1) * settings.fps / fps + 1e-9))
        spacing = max(fps / settings.fps, (num_frames - 1) / (count - 1) if count == settings.max_frames > 1 else 0.0)
        return sorted({min(num_frames - 1, round(k * spacing)) for k in range(count)})

    def render(self, frame: VideoFrame, info: VideoInfo) -> UInt8Array:
        """See `FrameSampler`."""
        return sample_image(
            frame,
            self._settings.max_side_px,
            self._settings.max_side_px,
            rotation_deg=info.rotation_deg,
            is_mirrored=info.is_mirrored,
            sample_aspect_ratio=info.sample_aspect_ratio,
        )


def read_images(
    path: str, info: VideoInfo, num_frames: int, fps: float, sampler: FrameSampler
) -> tuple[list[LabeledImage], list[float]]:
    """Sampled frames of a clip as JPEGs, and their times.

    Times are in seconds from the clip's first frame.

    Raises:
      ItemError: what `VideoReader.frames` raises.
    """
    indices = set(sampler.indices(num_frames, fps))
    images: list[LabeledImage] = []
    times_s: list[float] = []
    start_pts: int | None = None
    with VideoReader(path) as reader:
        for decoded in reader.frames():
            start_pts = decoded.pts if start_pts is None else start_pts
            if decoded.index not in indices:
                continue
            rgb = sampler.render(decoded.frame, info)
            times_s.append(float((decoded.pts - start_pts) * reader.time_base))
            label = f"Picture {len(times_s)}, at {times_s[-1]:.2f} s:"
            images.append(LabeledImage(jpeg=encode_jpeg(np.ascontiguousarray(rgb), JPEG_QUALITY), label=label))
            if len(times_s) == len(indices):
                break
    return images, times_s
