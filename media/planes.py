"""Luma and chroma planes of a decoded frame, for kernels that read its memory."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from core.failures import ItemError
from media.color import is_full_range, is_rgb, matrix_of

_local = threading.local()
_SWS_MATRICES = {1: Colorspace.ITU709, 6: Colorspace.ITU601, 9: Colorspace.BT2020}
# Planar, little-endian, least significant bits: formats that kernels read without conversion.
_PLANAR = re.compile(r"yuv[aj]?4\d\dp((9|10|12|14|16)le)?|gray((9|10|12|14|16)le)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """Planar YUV or gray samples of one frame, little-endian.

    Attributes:
      y, u, v: objects with the buffer protocol; chroma is None for gray. They keep the frame alive.
      y_stride, uv_stride: bytes from one row to the next.
      width, height: size of the luma plane in samples.
      chroma_width, chroma_height: size of each chroma plane in samples; 0 for gray.
      bit_depth: 8 to 16. One byte per sample at 8 bits, else two with the value in the low bits.
      is_full_range: full color range: black and white are 0 and 2^bits - 1 (limited: 16 and 235, times 2^(bits - 8)).
    """

    y: VideoPlane
    u: VideoPlane | None
    v: VideoPlane | None
    y_stride: int
    uv_stride: int
    width: int
    height: int
    chroma_width: int
    chroma_height: int
    bit_depth: int
    is_full_range: bool

    def luma(self) -> NDArray[Any]:
        """(height, width) uint8 or uint16 view of the luma plane, without a copy."""
        return _view(self.y, self.y_stride, self.width, self.bit_depth)

    def chroma(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """(chroma_height, chroma_width) views of both chroma planes, without a copy; None for gray."""
        if self.u is None or self.v is None:
            return None
        return (
            _view(self.u, self.uv_stride, self.chroma_width, self.bit_depth),
            _view(self.v, self.uv_stride, self.chroma_width, self.bit_depth),
        )


def planes(frame: VideoFrame) -> Planes:
    """Planes of a frame, as views of its memory.

    For planar YUV and gray of 8 to 16 bits.

    Other formats (RGB, palette, semi-planar, packed, big-endian) are converted by swscale to the nearest planar format;
    RGB by the matrix of `media.color.matrix_of` in limited range.

    Raises:
      ItemError: UnsupportedFormat if swscale does not support the pixel format.
    """
    frame = planar_frame(frame)
    name = frame.format.name
    own = frame.planes
    y = own[0]
    u, v = (own[1], own[2]) if len(own) >= 3 else (None, None)
    return Planes(
        y=y,
        u=u,
        v=v,
        y_stride=y.line_size,
        uv_stride=u.line_size if u is not None else 0,
        width=y.width,
        height=y.height,
        chroma_width=u.width if u is not None else 0,
        chroma_height=u.height if u is not None else 0,
        bit_depth=bit_depth(name),
        is_full_range=is_full_range(name, frame.color_range),
    )


def planar_frame(frame: VideoFrame) -> VideoFrame:
    """The frame itself if its format is planar as in `planes`, else converted.

    Raises:
      ItemError: UnsupportedFormat if swscale does not support the pixel format.
    """
    name = frame.format.name
    target = planar_format(name)
    return frame if target == name else _reformat(frame, target)


@cache
def bit_depth(format_name: str) -> int:
    """Bits per luma (or red) sample of a pixel format.

    Of a palette, bits of its color entries.
    """
    return VideoFormat(format_name).components[0].bits


@cache
def planar_format(format_name: str) -> str:
    """The nearest planar little-endian YUV or gray pixel format.

    The format itself if it is one.
    """
    if _PLANAR.fullmatch(format_name):
        return format_name
    format_ = VideoFormat(format_name, 64, 64)
    parts = [c for c in format_.components if not c.is_alpha]
    if format_.is_bayer:
        return "yuv420p"  # the only planar target that swscale supports for Bayer formats
    bits = max((c.bits for c in parts), default=8)
    suffix = "" if bits <= 8 else next((f"{b}le" for b in (10, 12) if bits <= b), "16le")
    if len(parts) == 1 and not format_.has_palette:
        return f"gray{suffix}"
    if format_.is_rgb or format_.has_palette:
        return f"yuv444p{suffix}"
    sampling = {(64, 64): "444", (32, 64): "422", (16, 64): "422"}.get(
        (format_.chroma_width(64), format_.chroma_height(64)), "420"
    )
    return f"yuv{sampling}p{suffix}"


def _reformat(frame: VideoFrame, target: str) -> VideoFrame:
    reformatter = getattr(_local, "reformatter", None)
    if reformatter is None:
        reformatter = _local.reformatter = VideoReformatter()
    try:
        if is_rgb(frame.format.name):
            converted: VideoFrame = reformatter.reformat(
                frame,
                format=target,
                dst_colorspace=_SWS_MATRICES[matrix_of(frame)],
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
        else:
            converted = reformatter.reformat(frame, format=target, threads=1)
    except FFmpegError as error:
        raise ItemError(
            "UnsupportedFormat",
            f"frames of format {frame.format.name!r} cannot be converted to {target!r} ({error.strerror})",
            "convert the video to a common format such as yuv420p.",
        ) from error
    return converted


def _view(plane: Any, stride: int, width: int, bit_depth: int) -> NDArray[Any]:
    samples: NDArray[Any] = np.frombuffer(plane, np.uint8 if bit_depth <= 8 else np.uint16)
    return samples.reshape(-1, stride // samples.itemsize)[:, :width]
