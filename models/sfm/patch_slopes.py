"""Local planes of patches: slopes of inverse depth, fitted to neighboring points."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import Reconstruction

NUM_NEIGHBORS = 11
"""Includes the point itself, which adds nothing."""
REACH_PX = 80.0
"""Neighbors weigh less with distance, and nothing beyond this one."""
LOSS_SCALE = 0.08
"""Scale of the Cauchy loss, in relative inverse depth: neighbors further off lie on another surface."""
DEPTH_NOISE = 0.02
ROUNDS = 4
TIE_PX2 = 1e-7
"""Makes the first of equally distant neighbors count: which ones argpartition takes depends on the CPU."""


def inverse_depth_slopes(recon: Reconstruction, points: Int64Array) -> Float64Array:
    """(k, 2) slopes of inverse depth per pixel, right and down.

    In the points' reference frames.

    The inverse depth of a plane is linear in the pixel. Its slope is fitted to the neighbors in the reference frame by
    iteratively reweighted least squares with a Cauchy loss. A prior covers few or collinear neighbors: planes are
    fronto-parallel, with a standard deviation of 45 degrees.

    Args:
      recon: the reconstruction.
      points: (k,) triangulated points.
    """
    slope = np.zeros((len(points), 2))
    reference = recon.reference[points]
    for frame in np.unique(reference).tolist():
        own = np.flatnonzero(reference == frame)
        others = points[recon.is_observed[frame, points]]
        inverse_depth = recon.inverse_depth_in(np.full(len(others), frame), others)
        others, inverse_depth = others[np.isfinite(inverse_depth)], inverse_depth[np.isfinite(inverse_depth)]
        if len(others) > 2:
            keypoints = recon.keypoints_px[frame]
            own_depth, focal_px = recon.inverse_depth[points[own]], float(recon.intrinsics_px[0])
            slope[own] = _fit_slopes(keypoints[points[own]], own_depth, keypoints[others], inverse_depth, focal_px)
    return slope * recon.inverse_depth[points, None]


def _fit_slopes(
    own_px: Float64Array, inverse_depth: Float64Array, others_px: Float64Array, others: Float64Array, focal_px: float
) -> Float64Array:
    """(k, 2) relative slopes in 1 / px, fitted to nearby keypoints."""
    squared = np.square(own_px[:, None, 0] - others_px[:, 0]) + np.square(own_px[:, None, 1] - others_px[:, 1])
    squared += TIE_PX2 * np.arange(len(others))
    count = min(NUM_NEIGHBORS, len(others))
    near = np.sort(np.argpartition(squared, count - 1, axis=1)[:, :count], axis=1)
    squared = np.take_along_axis(squared, near, axis=1)
    x, y = np.moveaxis(others_px[near] - own_px[:, None], 2, 0)
    relative_change = others[near] / inverse_depth[:, None] - 1
    confidence = np.square(np.maximum(1 - squared / REACH_PX**2, 0.0) / DEPTH_NOISE)
    slope = np.zeros((len(own_px), 2))
    for _ in range(ROUNDS):
        residual = relative_change - x * slope[:, :1] - y * slope[:, 1:]
        weight = confidence / (1 + np.square(residual / LOSS_SCALE))
        xx = (weight * x * x).sum(axis=1) + focal_px**2
        yy = (weight * y * y).sum(axis=1) + focal_px**2
        xy = (weight * x * y).sum(axis=1)
        right, down = (weight * x * relative_change).sum(axis=1), (weight * y * relative_change).sum(axis=1)
        slope = np.stack([yy * right - xy * down, xx * down - xy * right], axis=1) / (xx * yy - xy**2)[:, None]
    return slope
