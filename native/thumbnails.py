"""Comparisons of frames' thumbnails, (36, 64, 3) uint8 YUV as `native.frame_stats` makes them, in native code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from native import _native

Thumbnail = npt.NDArray[np.uint8]


def mean_change(a: Thumbnail, b: Thumbnail) -> float:
    """Mean absolute difference of two thumbnails over all channels, in 8-bit levels.

    Raises:
      ValueError: if a shape is another one.
    """
    return _native.mean_change(a, b)


def mean_luma_change(a: Thumbnail, b: Thumbnail) -> float:
    """As `mean_change`, of luma alone."""
    return _native.mean_luma_change(a, b)


class BlendCandidate(NamedTuple):
    """A window of thumbnails that is nearly a linear blend of its ends.

    Attributes:
      quality: 0 to 1: (1 - residual) (1 - bend), see `BlendSearch`.
      length: thumbnails from the window's first to its last, which is the one pushed last.
      distance: mean absolute difference of the ends, in 8-bit levels.
    """

    quality: float
    length: int
    distance: float


class BlendSearch:
    """Looks back from each thumbnail for windows whose middle is a linear blend of their ends A and B.

    On thumbnails of half the size (32 x 18), the blend factor of a picture M between A and B is the projection
    of M - A on B - A. The bend is how far factors stray from an even course; the residual is the mean absolute
    value of what the blend leaves of M - A, divided by the distance of the ends.

    Args:
      lengths: of windows, ascending.
      probes: places inside a window where it is looked at, 0 to 1.
      min_distance: of the ends, in 8-bit levels.
      max_bend, max_residual: beyond them a window is no candidate.
      min_quality: of a candidate.

    Raises:
      ValueError: for lengths or limits that are not possible.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        probes: Sequence[float],
        *,
        min_distance: float,
        max_bend: float,
        max_residual: float,
        min_quality: float,
    ) -> None:
        self._native = _native.BlendSearch(lengths, probes, min_distance, max_bend, max_residual, min_quality)

    def push(self, thumbnail: Thumbnail) -> list[BlendCandidate]:
        """Candidates that end at the next thumbnail, best first."""
        found = self._native.push(thumbnail)
        return [BlendCandidate(*each) for each in found] if found else []

    def factors(self, length: int) -> list[float]:
        """Blend factors of the `length` + 1 thumbnails up to the last one, between the first and the last of them.

        Raises:
          ValueError: if fewer have been pushed, or `length` is longer than the longest window.
        """
        return self._native.factors(length)
