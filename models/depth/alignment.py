"""Monocular depth of a clip in one unit, as the tracker's prior.

As in MegaSaM (Li et al. 2025).

Relative inverse depth is aligned with metric depth in each frame by medians. One frame's scale and shift, the nearest
to the median, serve the whole clip, which keeps the maps consistent over time. The unit is such that the 98th
percentile of inverse depth is 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array
from models.depth.mono_depth import FrameDepths

TOP_PERCENTILE, TOP_INVERSE_DEPTH = 98, 2.0
MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 1e-4, 100.0
EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedDepth:
    """Monocular depth of a clip in one unit.

    Attributes:
      inverse_depth: (n, h, w) float32, 0 where unknown or at infinity.
      meters_per_unit: metric scale; None without metric depth.
      focal_px: focal length predicted by the networks, in pixels of the maps; None if they predict none.
    """

    inverse_depth: Float32Array
    meters_per_unit: float | None
    focal_px: float | None


def align_depth(relative: FrameDepths | None, metric: FrameDepths | None) -> AlignedDepth:
    """Aligns relative with metric depth of the same size; either may be None, not both.

    Raises:
      ValueError: if neither is given, or no depth in them is valid.
    """
    if relative is None and metric is None:
        raise ValueError("depth of a network is needed: relative, metric or both")
    inverse = np.zeros((0, 0, 0), np.float32)
    if metric is not None:
        inverse = np.where(metric.is_valid, 1 / np.maximum(metric.maps, EPSILON), 0).astype(np.float32)
    if relative is not None:
        scale, shift = (1.0, 0.0) if metric is None else _typical_fit(relative, inverse, metric.is_valid)
        inverse = (scale * relative.maps + shift).astype(np.float32)
    is_known = inverse > 0
    if not is_known.any():
        raise ValueError("the networks see no depth in this clip")
    unit = float(np.percentile(inverse[is_known], TOP_PERCENTILE)) / TOP_INVERSE_DEPTH
    inverse = inverse / np.float32(unit)
    inverse = np.where(inverse > MIN_INVERSE_DEPTH, np.minimum(inverse, MAX_INVERSE_DEPTH), 0).astype(np.float32)
    return AlignedDepth(
        inverse_depth=inverse,
        meters_per_unit=None if metric is None else 1 / unit,
        focal_px=_focal(metric) or _focal(relative),
    )


def _typical_fit(relative: FrameDepths, inverse: Float32Array, is_valid: BoolArray) -> tuple[float, float]:
    """Scale and shift of the frame with the median product of both."""
    fits = []
    for predicted, reference, valid in zip(relative.maps, inverse, is_valid & relative.is_valid, strict=True):
        x, y = predicted[valid].astype(np.float64), reference[valid].astype(np.float64)
        if len(x):
            scale = np.median((y - np.median(y) + EPSILON) / (x - np.median(x) + EPSILON))
            fits.append((scale, np.median(y - scale * x)))
    if not fits:
        raise ValueError("the networks see no depth in this clip")
    product = np.prod(fits, axis=1)
    scale, shift = fits[int(np.argmin(np.abs(product - np.median(product))))]
    return float(scale), float(shift)


def _focal(depth: FrameDepths | None) -> float | None:
    if depth is None or not np.isfinite(depth.focal_px).any():
        return None
    return float(np.nanmedian(depth.focal_px))
