"""Depth that networks see, brought to the scale of the poses and joined with the depth that motion gives."""

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
SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedDepth:
    """Inverse depths of a clip's frames with the networks' part in them.

    Attributes:
      maps: in the units of the poses' translations.
      meters_per_unit: the poses' unit in meters; None if no metric network said.
    """

    maps: InverseDepth
    meters_per_unit: float | None


def fuse_depth(
    stereo: InverseDepth, is_static: BoolArray, relative: FrameDepths | None, metric: FrameDepths | None
) -> FusedDepth:
    """Motion's depth where it is known and static, joined with what networks see; theirs alone elsewhere.

    The relative network's inverse depth is fitted to motion's by scale and shift, frame by frame (robust least
    squares); without one the metric network's is, by scale alone. Where both are known their mean counts, each
    weighted by its certainty: the network's is how well the fit meets motion's depth. A frame in which motion knows
    too little takes the clip's fit; if the clip knows too little, motion's depth stays as it is.

    Args:
      stereo: depth from the camera's motion.
      is_static: (n, h, w) bool: where motion's depth may be trusted for it.
      relative, metric: what networks see, at the same frames and size.
    """
    known = stereo.is_valid & is_static
    meters = None if metric is None else _meters_per_unit(stereo.inverse_depth, known, metric)
    seen = None
    if relative is not None:
        seen = _fitted(relative.maps, relative.is_valid, stereo.inverse_depth, known, with_shift=True)
    elif metric is not None:
        inverse = np.divide(1, metric.maps, out=np.zeros_like(metric.maps), where=metric.is_valid)
        seen = _fitted(inverse, metric.is_valid, stereo.inverse_depth, known, with_shift=False)
    if seen is None:
        return FusedDepth(maps=stereo, meters_per_unit=meters)
    inverse, relative_sigma, is_seen = seen
    sigma = relative_sigma[:, None, None] * inverse
    with np.errstate(divide="ignore", invalid="ignore"):
        by_motion = np.where(known, 1 / np.square(stereo.sigma), 0)
        by_network = np.where(is_seen, 1 / np.square(sigma), 0)
        total = by_motion + by_network
        joined = np.where(total > 0, (by_motion * stereo.inverse_depth + by_network * inverse) / total, 0)
        joined_sigma = np.where(total > 0, 1 / np.sqrt(total), np.inf)
    maps = InverseDepth(
        inverse_depth=joined.astype(np.float32), sigma=joined_sigma.astype(np.float32), is_valid=total > 0
    )
    return FusedDepth(maps=maps, meters_per_unit=meters)


def metric_depth(metric: FrameDepths, relative_sigma: float = 0.1) -> InverseDepth:
    """A metric network's depth alone, in meters, for a camera that does not travel."""
    inverse = np.divide(1, metric.maps, out=np.zeros_like(metric.maps), where=metric.is_valid)
    return InverseDepth(
        inverse_depth=inverse,
        sigma=np.where(metric.is_valid, relative_sigma * inverse, np.inf).astype(np.float32),
        is_valid=metric.is_valid,
    )


def _meters_per_unit(inverse_depth: Float32Array, known: BoolArray, metric: FrameDepths) -> float | None:
    """Median over frames of the median ratio of the two depths, so that each frame has one vote."""
    both = known & metric.is_valid & (inverse_depth > 0)
    ratios = [
        float(np.median(seen[where] * inverse[where]))
        for seen, inverse, where in zip(metric.maps, inverse_depth, both, strict=True)
        if where.sum() >= MIN_FIT_PIXELS
    ]
    return float(np.median(ratios)) if ratios else None


def _fitted(
    seen: Float32Array, is_seen: BoolArray, inverse_depth: Float32Array, known: BoolArray, *, with_shift: bool
) -> tuple[Float32Array, Float64Array, BoolArray] | None:
    """The network's maps on motion's scale, each frame's relative error, and where they are above 0."""
    both = known & is_seen & (inverse_depth > 0)
    enough = [k for k in range(len(seen)) if both[k].sum() >= MIN_FIT_PIXELS]
    if not enough:
        return None
    fits = {k: _fit(seen[k][both[k]], inverse_depth[k][both[k]], with_shift) for k in enough}
    fits = {k: fit for k, fit in fits.items() if fit[0] > 0}
    pooled = _fit(seen[both], inverse_depth[both], with_shift)
    if pooled[0] <= 0:
        return None
    scale, shift, sigma = (np.array([fits.get(k, pooled)[i] for k in range(len(seen))]) for i in range(3))
    mapped = (scale[:, None, None] * seen + shift[:, None, None]).astype(np.float32)
    return mapped, sigma, is_seen & (mapped > 0)


def _fit(seen: Float32Array, inverse_depth: Float32Array, with_shift: bool) -> tuple[float, float, float]:
    """Scale and shift that bring what is seen to inverse depth, and the median relative error as a deviation.

    Relative errors count, with Cauchy weights, so that neither near things nor wrong ones rule.
    """
    step = max(1, len(seen) // MAX_FIT_PIXELS)
    x, y = seen[::step].astype(np.float64), inverse_depth[::step].astype(np.float64)
    columns = np.stack((x, np.ones_like(x)), axis=1)[:, : 2 if with_shift else 1] / y[:, None]
    weight = np.ones_like(x)
    solution, sigma = np.zeros(columns.shape[1]), 1.0
    for _ in range(FIT_STEPS):
        weighted = columns * weight[:, None]
        solution = np.linalg.lstsq(weighted.T @ columns, weighted.sum(axis=0), rcond=None)[0]
        residual = columns @ solution - 1
        sigma = max(SIGMA_OF_MAD * float(np.median(np.abs(residual))), MIN_RELATIVE_SIGMA)
        weight = 1 / (1 + np.square(residual / (2 * sigma)))
    return float(solution[0]), float(solution[1]) if with_shift else 0.0, sigma
