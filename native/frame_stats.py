"""Numbers of each frame of a video, computed on the decoder's own planes in one pass of native code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from native import _native

FloatArray = npt.NDArray[np.float64]

THUMBNAIL_SIZE = (64, 36)
"""Width and height of a thumbnail, in cells."""

MAX_SIDE = 32768


class FrameStat(NamedTuple):
    """What one frame gives.

    Attributes:
      motion: m[i] of VMAF's motion feature: mean absolute value of the blurred difference between the luma of
        this frame and of the frame before, in 8-bit luma units (0 to 255); 0 for a first frame. Equal to
        libvmaf's integer motion as of 2026; releases before that blur first and subtract then, and repeat
        the last row and column, which changes the fourth decimal.
      luma_mean, u_mean, v_mean: means of the planes, in 8-bit code units (0 to 255); u and v are 128 for gray.
      luma_nominal_mean: mean of the luma clamped to the nominal range [16, 235] of limited-range video.
      thumbnail: (36, 64, 3) uint8, channels Y, U, V: the rounded mean of each cell's samples. On a plane of
        w x h samples, row r covers the plane's rows floor(r*h/36) up to, not including, floor((r+1)*h/36),
        and at least one; columns likewise with w and 64.
    """

    motion: float
    luma_mean: float
    luma_nominal_mean: float
    u_mean: float
    v_mean: float
    thumbnail: npt.NDArray[np.uint8]


Plane = tuple[object, int]
"""An object with the buffer protocol (bytes, an array, `av.VideoPlane`) and its line size in bytes."""


def available_simd() -> tuple[str, ...]:
    """Names of the code paths that this processor can run, slowest first; all give the same numbers."""
    return tuple(_native.available_simd())


class FrameStats:
    """Numbers of the frames of one video, in order; all frames have the same size and format.

    No frame is copied: the planes of the last frame are held, and read again by the next `push`, so their
    memory must not be overwritten until then (a decoder does not do that to planes that are still held).
    `push` releases the interpreter lock while it computes; an object serves one thread at a time.

    Args:
      width, height: of the luma plane, in samples.
      chroma_width, chroma_height: of each chroma plane; 0 and 0 for gray video.
      bit_depth: 8 (one byte a sample) to 16 (above 8: two bytes in native order, value in the low bits).
      simd: one of `available_simd()`, or "auto" for the fastest.

    Raises:
      ValueError: for sizes, depths or paths that are not possible.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        chroma_width: int,
        chroma_height: int,
        bit_depth: int = 8,
        simd: str = "auto",
    ) -> None:
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise ValueError(f"a picture has 1 to {MAX_SIDE} samples on a side, got {width} x {height}")
        is_gray = chroma_width == 0 and chroma_height == 0
        if not is_gray and not (1 <= chroma_width <= width and 1 <= chroma_height <= height):
            raise ValueError(
                f"a chroma plane has between one sample and the luma's {width} x {height}, or 0 x 0 for gray, "
                f"got {chroma_width} x {chroma_height}"
            )
        if not 8 <= bit_depth <= 16:
            raise ValueError(f"the bit depth must be from 8 to 16, got {bit_depth}")
        self._native = _native.FrameStats(width, height, chroma_width, chroma_height, bit_depth, simd)

    def push(self, y: Plane, u: Plane, v: Plane) -> FrameStat:
        """Numbers of the next frame. Planes are read in place, never beyond the last row's last sample.

        Args:
          y, u, v: the planes; u and v are not looked into for gray video. They are held until the next call.

        Raises:
          ValueError: if a line size is shorter than a row, or a buffer shorter than its rows.
          RuntimeError: if another thread is inside `push`.
        """
        return FrameStat(*self._native.push(*y, *u, *v))

    def reset(self) -> None:
        """Makes the next frame a first frame again, and lets go of the last one."""
        self._native.reset()


def motion2(motion: FloatArray) -> FloatArray:
    """VMAF's `integer_motion2` of every frame from the m[i] of a whole video.

    (n,) float64 to (n,) float64: min(m[i], m[i+1]), which hides the jump at a cut; the first is 0 and the last is
    m[n-1]. Rule of libvmaf's integer motion feature.
    """
    result = np.array(motion, dtype=np.float64)
    if len(result) > 0:
        result[:-1] = np.minimum(result[:-1], result[1:])
        result[0] = 0.0
    return result
