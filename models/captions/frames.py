"""The pictures of a clip that a vision-language model sees."""

from __future__ import annotations

import numpy as np

from core.video_info import VideoInfo
from media.decode import VideoReader
from media.images import encode_jpeg, reference_sample_image, sample_image
from models.captions.chat import Picture
from models.captions.settings import FrameSettings

JPEG_QUALITY = 85
PARITY_STEP_S, PARITY_STRIDE = 0.2, 5


def choose_frames(num_frames: int, fps: float, settings: FrameSettings) -> list[int]:
    """Indices of the pictures in a clip, increasing, the first frame always among them.

    Args:
      num_frames: frames of the clip, at least one.
      fps: its frame rate.
      settings: how many are wanted.
    """
    if settings.parity:
        # SpatialVID divides by zero below 5 frames a second.
        step = PARITY_STRIDE * max(1, int(PARITY_STEP_S * fps))
        return list(range(0, num_frames, step))
    count = min(settings.max_frames, 1 + int((num_frames - 1) * settings.fps / fps + 1e-9))
    spacing = max(fps / settings.fps, (num_frames - 1) / (count - 1) if count == settings.max_frames > 1 else 0.0)
    return sorted({min(num_frames - 1, round(k * spacing)) for k in range(count)})


def read_pictures(
    path: str, info: VideoInfo, num_frames: int, fps: float, settings: FrameSettings
) -> tuple[list[Picture], list[float]]:
    """Decodes the chosen frames of a clip; returns them as JPEGs with their times in seconds from its first frame.

    Raises:
      ItemError: what `VideoReader.frames` raises.
    """
    wanted = set(choose_frames(num_frames, fps, settings))
    pictures: list[Picture] = []
    times: list[float] = []
    start_pts: int | None = None
    with VideoReader(path) as reader:
        for decoded in reader.frames():
            start_pts = decoded.pts if start_pts is None else start_pts
            if decoded.index not in wanted:
                continue
            if settings.parity:
                rgb = reference_sample_image(decoded.frame, rotation_deg=info.rotation_deg)
            else:
                rgb = sample_image(
                    decoded.frame,
                    settings.max_side_px,
                    settings.max_side_px,
                    rotation_deg=info.rotation_deg,
                    is_mirrored=info.is_mirrored,
                    sample_aspect_ratio=info.sample_aspect_ratio,
                )
            times.append(float((decoded.pts - start_pts) * reader.time_base))
            label = f"Picture {len(times)}, at {times[-1]:.2f} s:"
            pictures.append(Picture(jpeg=encode_jpeg(np.ascontiguousarray(rgb), JPEG_QUALITY), label=label))
            if len(times) == len(wanted):
                break
    return pictures, times
