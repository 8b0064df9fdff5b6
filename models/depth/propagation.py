"""Propagation of sparse values over a map by normalized convolution (Knutsson and Westin 1993)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float32Array

DOWNSCALE = 4
SIGMAS_PX = (3.0, 12.0, 40.0)
WIDER_WEIGHT = 1e-2
"""Weight of each wider Gaussian relative to the narrower: it decides only where those reach no known value."""
EPSILON = 1e-7


def propagate(values: Float32Array, is_known: BoolArray) -> Float32Array:
    """(h, w) local means of the known values; 0 if none is known."""
    height, width = values.shape
    small = -(-width // DOWNSCALE), -(-height // DOWNSCALE)
    weight = is_known.astype(np.float32)
    total, known = (cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in (values * weight, weight))
    mean = normalized_convolution(total, known, [sigma / DOWNSCALE for sigma in SIGMAS_PX])
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def normalized_convolution(total: npt.ArrayLike, weight: npt.ArrayLike, sigmas: Sequence[float]) -> Float32Array:
    """Local means by Gaussians of several sigmas, in cells.

    From weighted sums and weights per cell.
    """
    sums = np.dstack([np.asarray(total, np.float64), np.asarray(weight, np.float64)])
    blurred = (WIDER_WEIGHT**k * cv2.GaussianBlur(sums, (0, 0), sigma) for k, sigma in enumerate(sigmas))
    local = sum(blurred, np.zeros_like(sums))
    # Far from all known values the global mean counts.
    mean = float(sums[..., 0].sum() / max(sums[..., 1].sum(), EPSILON))
    return np.asarray((local[..., 0] + EPSILON * mean) / (local[..., 1] + EPSILON), np.float32)
