"""Frame statistics of decoded frames, by the native kernels."""

from __future__ import annotations

import av

from core.video_info import VideoInfo
from media.planes import planar_frame, planes
from native.frame_stats import FrameStat, FrameStats


class FrameMeter:
    """Computes statistics of consecutive frames; a new frame size or format resets the comparison."""

    def __init__(self) -> None:
        self._format: tuple[int, int, str] | None = None
        self._stats: FrameStats | None = None

    def push(self, frame: av.VideoFrame) -> tuple[FrameStat, bool]:
        """Statistics of the next frame, and whether its size or format changed."""
        frame_format = (frame.width, frame.height, frame.format.name)
        is_new = frame_format != self._format
        own = planar_frame(frame).planes
        if is_new or self._stats is None:
            yuv = planes(frame)
            self._stats = FrameStats(
                yuv.width,
                yuv.height,
                chroma_width=yuv.chroma_width,
                chroma_height=yuv.chroma_height,
                bit_depth=yuv.bit_depth,
            )
        changed = is_new and self._format is not None
        self._format = frame_format
        y, u, v = own[:3] if len(own) >= 3 else (own[0],) * 3
        return self._stats.push((y, y.line_size), (u, u.line_size), (v, v.line_size)), changed


def upright_size(frame: av.VideoFrame, info: VideoInfo) -> tuple[int, int]:
    """Width and height of a frame after display rotation, pixels."""
    return (frame.height, frame.width) if info.rotation_deg in (90, 270) else (frame.width, frame.height)
