"""Thumbnail differences for shot detection: (36, 64, 3) uint8 YUV of `native.frame_stats`, in native code."""

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
      ValueError: for a wrong shape.
    """
    return _native.mean_change(a, b)


def mean_luma_change(a: Thumbnail, b: Thumbnail) -> float:
    """Mean absolute difference of the luma of two thumbnails, in 8-bit levels."""
    return _native.mean_luma_change(a, b)


class BlendCandidate(NamedTuple):
    """A window of thumbnails that is nearly a linear blend of its ends.

    As in a dissolve.

    Attributes:
      quality: (1 - residual) (1 - nonlinearity), 0 to 1; see `BlendSearch`.
      length: frames from the first to the last of the window; it ends at the thumbnail pushed last.
      distance: mean absolute difference of the ends, in 8-bit levels.
    """

    quality: float
    length: int
    distance: float


class BlendSearch:
    """Finds windows that are a linear blend of their ends A and B.

    For each thumbnail, those that end there.

    At half resolution (32 x 18), the blend factor of a frame M between A and B is the projection of M - A on B - A. The
    nonlinearity is the largest deviation of factors from linear in time; the residual is the mean absolute error of the
    blend, divided by the distance of the ends.

    Args:
      lengths: window lengths in frames, ascending.
      probes: relative times in a window at which the blend is tested, 0 to 1.
      min_distance: minimum distance of the ends, in 8-bit levels.
      max_nonlinearity, max_residual, min_quality: limits of a candidate.

    Raises:
      ValueError: for invalid lengths or limits.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        probes: Sequence[float],
        *,
        min_distance: float,
        max_nonlinearity: float,
        max_residual: float,
        min_quality: float,
    ) -> None:
        self._native = _native.BlendSearch(lengths, probes, min_distance, max_nonlinearity, max_residual, min_quality)

    def push(self, thumbnail: Thumbnail) -> list[BlendCandidate]:
        """Adds a thumbnail; returns the candidates that end at it, best first."""
        found = self._native.push(thumbnail)
        return [BlendCandidate(*each) for each in found] if found else []

    def factors(self, length: int) -> list[float]:
        """Blend factors of the last `length` + 1 thumbnails, between first and last.

        Raises:
          ValueError: if fewer have been added, or `length` exceeds the longest window.
        """
        return self._native.factors(length)
