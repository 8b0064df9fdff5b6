"""Samples the annotated frames of a clip by time, upright, at working resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from core.arrays import Float64Array, Int64Array, UInt8Array
from core.video_info import VideoInfo
from media.decode import VideoReader
from media.images import sample_image


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFrame:
    """One decoded frame of a clip.

    Attributes:
      rgb: (h, w, 3) uint8, upright, at the working resolution; (h, w) gray for frames that are not annotated.
      index: frame index in the clip.
      time_s: seconds since the clip's first frame, by timestamps.
      is_annotated: whether the frame is sampled for annotation.
    """

    rgb: UInt8Array
    index: int
    time_s: float
    is_annotated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFrames:
    """Annotated frames of one clip.

    Attributes:
      rgb: n times (h, w, 3) uint8, upright, all of one size.
      frame: (n,) int64 frame indices in the clip.
      time_s: (n,) float64 seconds since the clip's first frame.
      clip_size: (width, height) of the upright clip in pixels.
    """

    rgb: tuple[UInt8Array, ...]
    frame: Int64Array
    time_s: Float64Array
    clip_size: tuple[int, int]

    @classmethod
    def of(cls, frames: Sequence[ClipFrame], clip_size: tuple[int, int]) -> ClipFrames:
        """The annotated frames among `frames`."""
        annotated = [frame for frame in frames if frame.is_annotated]
        return cls(
            rgb=tuple(frame.rgb for frame in annotated),
            frame=np.array([frame.index for frame in annotated], np.int64),
            time_s=np.array([frame.time_s for frame in annotated], np.float64),
            clip_size=clip_size,
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the annotated frames in pixels."""
        return self.rgb[0].shape[1], self.rgb[0].shape[0]


def read_clip_frames(
    uri: str,
    info: VideoInfo,
    fps: float | None,
    max_side_px: int,
    *,
    include_skipped: bool = False,
    hardware: bool = False,
) -> Iterator[ClipFrame]:
    """Decodes a clip once; returns the frames nearest to multiples of 1 / fps.

    Args:
      uri: local path or fsspec URI of the clip.
      info: metadata from `probe_video`.
      fps: annotated frames per second; None for every frame. All frames of a clip with a lower rate are annotated.
      max_side_px: longest side of the frames in pixels; smaller clips keep their size.
      include_skipped: whether frames that are not annotated are yielded too, in gray.
      hardware: see `VideoReader`.

    Raises:
      ItemError: what `VideoReader.frames` raises.
    """
    start_pts: int | None = None
    with VideoReader(uri, hardware=hardware) as reader:
        for decoded in reader.frames():
            start_pts = decoded.pts if start_pts is None else start_pts
            time_s = float((decoded.pts - start_pts) * reader.time_base)
            is_sampled = fps is None or _is_sampled(time_s, float(decoded.duration * reader.time_base), fps)
            if not (is_sampled or include_skipped):
                continue
            rgb = sample_image(
                decoded.frame,
                max_side_px,
                max_side_px,
                rotation_deg=info.rotation_deg,
                is_mirrored=info.is_mirrored,
                sample_aspect_ratio=info.sample_aspect_ratio,
            )
            if not is_sampled:
                rgb = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
            yield ClipFrame(rgb=rgb, index=decoded.index, time_s=time_s, is_annotated=is_sampled)


def _is_sampled(time_s: float, duration_s: float, fps: float) -> bool:
    """Whether this frame is the nearest one to a multiple of 1 / fps."""
    # A frame covers the time from half a frame before its PTS to half a frame after it.
    first, last = (time_s - duration_s / 2) * fps, (time_s + duration_s / 2) * fps
    return np.ceil(first - 1e-9) < last - 1e-9
