"""Depth fusion of monocular depth and motion stereo.

Monocular depth is aligned by scale and shift, then averaged with the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array
from models.depth.mono_depth import FrameDepths
from models.depth.motion_stereo import InverseDepth

MIN_FIT_PIXELS = 200
MAX_FIT_PIXELS = 20_000
FIT_STEPS = 15
MIN_RELATIVE_SIGMA = 0.03
SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedDepth:
    """Motion stereo fused with monocular depth.

    Attributes:
      maps: in the unit of the poses.
      meters_per_unit: metric scale of the poses; None without metric depth.
    """

    maps: InverseDepth
    meters_per_unit: float | None


def fuse_depth(
    stereo: InverseDepth, is_static: BoolArray, relative: FrameDepths | None, metric: FrameDepths | None
) -> FusedDepth:
    """Inverse-variance mean of motion stereo and aligned monocular depth.

    Relative inverse depth is aligned with motion stereo by scale and shift in each frame; without it metric depth is,
    by scale alone. The residual of this robust fit is the sigma of monocular depth. Frames with too few stereo pixels
    take the fit of the whole clip; if the clip has too few, `stereo` is returned unchanged.

    Args:
      stereo: depth from motion stereo.
      is_static: (n, h, w) bool: static pixels, where motion stereo holds.
      relative, metric: monocular depth of the same frames at the same size.
    """
    known = stereo.is_valid & is_static
    meters = None if metric is None else _meters_per_unit(stereo.inverse_depth, known, metric)
    mono = None
    if relative is not None:
        mono = _align_frames(relative.maps, relative.is_valid, stereo.inverse_depth, known, with_shift=True)
    elif metric is not None:
        inverse = np.divide(1, metric.maps, out=np.zeros_like(metric.maps), where=metric.is_valid)
        mono = _align_frames(inverse, metric.is_valid, stereo.inverse_depth, known, with_shift=False)
    if mono is None:
        return FusedDepth(maps=stereo, meters_per_unit=meters)
    inverse, relative_sigma, is_predicted = mono
    sigma = relative_sigma[:, None, None] * inverse
    with np.errstate(divide="ignore", invalid="ignore"):
        stereo_weight = np.where(known, 1 / np.square(stereo.sigma), 0)
        mono_weight = np.where(is_predicted, 1 / np.square(sigma), 0)
        total = stereo_weight + mono_weight
        fused = np.where(total > 0, (stereo_weight * stereo.inverse_depth + mono_weight * inverse) / total, 0)
        fused_sigma = np.where(total > 0, 1 / np.sqrt(total), np.inf)
    maps = InverseDepth(
        inverse_depth=fused.astype(np.float32), sigma=fused_sigma.astype(np.float32), is_valid=total > 0
    )
    return FusedDepth(maps=maps, meters_per_unit=meters)


def metric_depth(metric: FrameDepths, relative_sigma: float = 0.1) -> InverseDepth:
    """Monocular metric depth alone, in meters, for a camera that does not translate."""
    inverse = np.divide(1, metric.maps, out=np.zeros_like(metric.maps), where=metric.is_valid)
    return InverseDepth(
        inverse_depth=inverse,
        sigma=np.where(metric.is_valid, relative_sigma * inverse, np.inf).astype(np.float32),
        is_valid=metric.is_valid,
    )


def _meters_per_unit(inverse_depth: Float32Array, known: BoolArray, metric: FrameDepths) -> float | None:
    """Metric scale: median over frames of the frames' median depth ratios."""
    both = known & metric.is_valid & (inverse_depth > 0)
    ratios = [
        float(np.median(predicted[where] * inverse[where]))
        for predicted, inverse, where in zip(metric.maps, inverse_depth, both, strict=True)
        if where.sum() >= MIN_FIT_PIXELS
    ]
    return float(np.median(ratios)) if ratios else None


def _align_frames(
    predicted: Float32Array, is_predicted: BoolArray, inverse_depth: Float32Array, known: BoolArray, *, with_shift: bool
) -> tuple[Float32Array, Float64Array, BoolArray] | None:
    """Aligned monocular inverse depth, each frame's relative sigma, and validity."""
    both = known & is_predicted & (inverse_depth > 0)
    fitted = [k for k in range(len(predicted)) if both[k].sum() >= MIN_FIT_PIXELS]
    if not fitted:
        return None
    fits = {k: _fit_scale_shift(predicted[k][both[k]], inverse_depth[k][both[k]], with_shift) for k in fitted}
    fits = {k: fit for k, fit in fits.items() if fit[0] > 0}
    pooled = _fit_scale_shift(predicted[both], inverse_depth[both], with_shift)
    if pooled[0] <= 0:
        return None
    scale, shift, sigma = (np.array([fits.get(k, pooled)[i] for k in range(len(predicted))]) for i in range(3))
    mapped = (scale[:, None, None] * predicted + shift[:, None, None]).astype(np.float32)
    return mapped, sigma, is_predicted & (mapped > 0)


def _fit_scale_shift(
    predicted: Float32Array, inverse_depth: Float32Array, with_shift: bool
) -> tuple[float, float, float]:
    """Scale and shift to stereo inverse depth, and relative sigma (1.4826 MAD).

    Iteratively reweighted least squares on relative errors with the Cauchy loss.
    """
    step = max(1, len(predicted) // MAX_FIT_PIXELS)
    x, y = predicted[::step].astype(np.float64), inverse_depth[::step].astype(np.float64)
    columns = np.stack((x, np.ones_like(x)), axis=1)[:, : 2 if with_shift else 1] / y[:, None]
    weight = np.ones_like(x)
    solution, sigma = np.zeros(columns.shape[1]), 1.0
    for _ in range(FIT_STEPS):
        weighted = columns * weight[:, None]
        solution = np.linalg.lstsq(weighted.T @ columns, weighted.sum(axis=0), rcond=None)[0]
        residual = columns @ solution - 1
        sigma = max(SIGMA_PER_MAD * float(np.median(np.abs(residual))), MIN_RELATIVE_SIGMA)
        weight = 1 / (1 + np.square(residual / (2 * sigma)))
    return float(solution[0]), float(solution[1]) if with_shift else 0.0, sigma
