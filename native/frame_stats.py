"""Per-frame statistics in one native pass over the decoder's planes.

VMAF motion, plane means, thumbnail.
"""

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
    """Statistics of one frame.

    Attributes:
      motion: motion score of libvmaf's integer motion feature as of 2026: mean absolute value of the blurred difference
        of the luma to the frame before, in 8-bit code values (0 to 255); 0 for the first frame. Older releases blur
        before the subtraction and replicate the last row and column, which changes the fourth decimal.
      luma_mean, u_mean, v_mean: means of the planes, in 8-bit code values (0 to 255); u and v are 128 for gray.
      luma_nominal_mean: mean of the luma clamped to [16, 235], the nominal range of limited color range.
      thumbnail: (36, 64, 3) uint8, channels Y, U, V: rounded box means. In a plane of w x h samples, thumbnail row r
        covers rows floor(r * h / 36) to floor((r + 1) * h / 36), exclusive, and at least one; columns likewise with w
        and 64.
    """

    motion: float
    luma_mean: float
    luma_nominal_mean: float
    u_mean: float
    v_mean: float
    thumbnail: npt.NDArray[np.uint8]


Plane = tuple[object, int]
"""A buffer (bytes, array or `av.VideoPlane`) and its line size in bytes."""


def available_simd() -> tuple[str, ...]:
    """Instruction sets that this processor supports, slowest first; all give the same numbers."""
    return tuple(_native.available_simd())


class FrameStats:
    """Computes the statistics of one video's frames, in order.

    All are of one size and format.

    Frames are not copied: references to the planes of the last frame are kept and read again by the next `push`; their
    memory must not be overwritten until then (a decoder does not overwrite referenced planes). `push` releases the GIL.
    Not thread-safe.

    Args:
      width, height: of the luma plane, in samples.
      chroma_width, chroma_height: of each chroma plane; 0 and 0 for gray video.
      bit_depth: 8 (one byte per sample) to 16 (above 8: two bytes in native order, value in the low bits).
      simd: one of `available_simd()`, or "auto" for the fastest.

    Raises:
      ValueError: for invalid sizes, bit depths or instruction sets.
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
            raise ValueError(f"width and height must be from 1 to {MAX_SIDE} samples, got {width} x {height}")
        is_gray = chroma_width == 0 and chroma_height == 0
        if not is_gray and not (1 <= chroma_width <= width and 1 <= chroma_height <= height):
            raise ValueError(
                f"a chroma plane must have from 1 x 1 to {width} x {height} samples (luma), or 0 x 0 for gray, "
                f"got {chroma_width} x {chroma_height}"
            )
        if not 8 <= bit_depth <= 16:
            raise ValueError(f"the bit depth must be from 8 to 16, got {bit_depth}")
        self._native = _native.FrameStats(width, height, chroma_width, chroma_height, bit_depth, simd)

    def push(self, y: Plane, u: Plane, v: Plane) -> FrameStat:
        """Statistics of the next frame; planes are read in place, never past the last sample.

        Args:
          y, u, v: the planes; u and v are ignored for gray video. References are kept until the next call.

        Raises:
          ValueError: if a line size is shorter than a row, or a buffer shorter than its rows.
          RuntimeError: if another thread is inside `push`.
        """
        return FrameStat(*self._native.push(*y, *u, *v))

    def reset(self) -> None:
        """Forgets the last frame; the next one is treated as the first."""
        self._native.reset()


def motion2(motion: FloatArray) -> FloatArray:
    """Libvmaf's `integer_motion2` of each frame from the (n,) motion scores of a whole video.

    (n,) float64: min(m[i], m[i + 1]), which suppresses the peak at a cut; the first is 0, the last is m[n - 1].
    """
    result = np.array(motion, dtype=np.float64)
    if len(result) > 0:
        result[:-1] = np.minimum(result[:-1], result[1:])
        result[0] = 0.0
    return result
