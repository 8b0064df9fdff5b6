"""The frames of a clip that are annotated: chosen by time, upright, at a working size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.failures import ItemError
from core.video_info import VideoInfo
from media.decode import VideoReader
from media.images import sample_image

MAX_FRAMES_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFrames:
    """Annotated frames of one clip.

    Attributes:
      rgb: (h, w, 3) uint8 each, upright, all of one size.
      frame: (n,) int64 index of each in the clip.
      time_s: (n,) float64 seconds since the clip's first frame.
      clip_size: (width, height) of the clip's upright picture in pixels.
    """

    rgb: tuple[npt.NDArray[np.uint8], ...]
    frame: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    clip_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the annotated frames in pixels."""
        return self.rgb[0].shape[1], self.rgb[0].shape[0]


def read_clip_frames(uri: str, info: VideoInfo, fps: float | None, max_side_px: int) -> ClipFrames:
    """Decodes a clip once and keeps the frames nearest to every 1 / fps seconds from its first frame on.

    Args:
      uri: local path or fsspec URI of the clip.
      info: what `probe_video` says of it.
      fps: annotated frames a second; None for every frame. A clip with fewer frames gives all.
      max_side_px: longest side of the frames; smaller clips keep their size.

    Raises:
      ItemError: what `VideoReader.frames` raises; TooManyFrames if they would take more than 2 GiB.
    """
    rgb: list[npt.NDArray[np.uint8]] = []
    indices: list[int] = []
    times: list[float] = []
    start_pts: int | None = None
    num_bytes = 0
    with VideoReader(uri) as reader:
        for decoded in reader.frames():
            start_pts = decoded.pts if start_pts is None else start_pts
            time_s = float((decoded.pts - start_pts) * reader.time_base)
            if fps is not None and not _is_due(time_s, float(decoded.duration * reader.time_base), fps):
                continue
            rgb.append(
                sample_image(
                    decoded.frame,
                    max_side_px,
                    max_side_px,
                    rotation_deg=info.rotation_deg,
                    is_mirrored=info.is_mirrored,
                    sample_aspect_ratio=info.sample_aspect_ratio,
                )
            )
            indices.append(decoded.index)
            times.append(time_s)
            num_bytes += rgb[-1].nbytes
            if num_bytes > MAX_FRAMES_BYTES:
                raise ItemError(
                    "TooManyFrames",
                    f"the annotated frames of {uri!r} take more than 2 GiB",
                    "lower annotate.fps or annotate.max_side_px, or cut the clip into shorter ones.",
                )
    return ClipFrames(
        rgb=tuple(rgb),
        frame=np.asarray(indices, np.int64),
        time_s=np.asarray(times, np.float64),
        clip_size=(info.display_width, info.display_height),
    )


def _is_due(time_s: float, duration_s: float, fps: float) -> bool:
    """Whether a multiple of 1 / fps lies nearer to this frame's time than to its neighbours'."""
    # A frame stands for the time from half a frame before it to half a frame behind it.
    first, last = (time_s - duration_s / 2) * fps, (time_s + duration_s / 2) * fps
    return np.ceil(first - 1e-9) < last - 1e-9
