"""Hole filling of sparse maps by normalized convolution with Gaussians of several widths."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float32Array

SHRINK = 4
SPREADS_PX = (3.0, 12.0, 40.0)
LESS = 1e-2
"""How much less each wider mean counts than the narrower: it shows where these find nothing."""
SMALL = 1e-7


def propagate(values: Float32Array, is_known: BoolArray) -> Float32Array:
    """(h, w) weighted means of the known values near each pixel; 0 if none is known."""
    height, width = values.shape
    small = -(-width // SHRINK), -(-height // SHRINK)
    weight = is_known.astype(np.float32)
    total, known = (cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in (values * weight, weight))
    mean = mean_around(total, known, [spread / SHRINK for spread in SPREADS_PX])
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def mean_around(total: npt.ArrayLike, weight: npt.ArrayLike, spreads: Sequence[float]) -> Float32Array:
    """Means about each cell of sums of values and their weights, by Gaussians of several widths (in cells)."""
    sums = np.dstack([np.asarray(total, np.float64), np.asarray(weight, np.float64)])
    around = sum((LESS**k * cv2.GaussianBlur(sums, (0, 0), s) for k, s in enumerate(spreads)), np.zeros_like(sums))
    # Far from everything known the mean of all counts.
    mean = float(sums[..., 0].sum() / max(sums[..., 1].sum(), SMALL))
    return np.asarray((around[..., 0] + SMALL * mean) / (around[..., 1] + SMALL), np.float32)
