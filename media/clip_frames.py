"""The frames of a clip that are annotated: chosen by time, upright, at a working size."""

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
    """One frame of a clip.

    Attributes:
      rgb: (h, w, 3) uint8, upright, at the working size; (h, w) gray in frames that are not annotated.
      index: frame index in the clip.
      time_s: seconds since the clip's first frame, by timestamps.
      is_annotated: whether it is one of those that are annotated.
    """

    rgb: UInt8Array
    index: int
    time_s: float
    is_annotated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFrames:
    """Annotated frames of one clip.

    Attributes:
      rgb: (h, w, 3) uint8 each, upright, all of one size.
      frame: (n,) int64 index of each in the clip.
      time_s: (n,) float64 seconds since the clip's first frame.
      clip_size: (width, height) of the clip's upright picture in pixels.
    """

    rgb: tuple[UInt8Array, ...]
    frame: Int64Array
    time_s: Float64Array
    clip_size: tuple[int, int]

    @classmethod
    def of(cls, frames: Sequence[ClipFrame], clip_size: tuple[int, int]) -> ClipFrames:
        """The annotated ones among `frames`."""
        chosen = [frame for frame in frames if frame.is_annotated]
        return cls(
            rgb=tuple(frame.rgb for frame in chosen),
            frame=np.array([frame.index for frame in chosen], np.int64),
            time_s=np.array([frame.time_s for frame in chosen], np.float64),
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
    others_too: bool = False,
    hardware: bool = False,
) -> Iterator[ClipFrame]:
    """Decodes a clip once; annotated are the frames nearest to every 1 / fps seconds from its first frame on.

    Args:
      uri: local path or fsspec URI of the clip.
      info: what `probe_video` says of it.
      fps: annotated frames a second; None for every frame. A clip with fewer frames gives all.
      max_side_px: longest side of the frames; smaller clips keep their size.
      others_too: whether frames that are not annotated come too, in gray.
      hardware: see `VideoReader`.

    Raises:
      ItemError: what `VideoReader.frames` raises.
    """
    start_pts: int | None = None
    with VideoReader(uri, hardware=hardware) as reader:
        for decoded in reader.frames():
            start_pts = decoded.pts if start_pts is None else start_pts
            time_s = float((decoded.pts - start_pts) * reader.time_base)
            is_due = fps is None or _is_due(time_s, float(decoded.duration * reader.time_base), fps)
            if not (is_due or others_too):
                continue
            rgb = sample_image(
                decoded.frame,
                max_side_px,
                max_side_px,
                rotation_deg=info.rotation_deg,
                is_mirrored=info.is_mirrored,
                sample_aspect_ratio=info.sample_aspect_ratio,
            )
            if not is_due:
                rgb = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
            yield ClipFrame(rgb=rgb, index=decoded.index, time_s=time_s, is_annotated=is_due)


def _is_due(time_s: float, duration_s: float, fps: float) -> bool:
    """Whether a multiple of 1 / fps lies nearer to this frame's time than to its neighbors'."""
    # A frame stands for the time from half a frame before it to half a frame behind it.
    first, last = (time_s - duration_s / 2) * fps, (time_s + duration_s / 2) * fps
    return np.ceil(first - 1e-9) < last - 1e-9
