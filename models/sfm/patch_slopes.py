"""How the surfaces that points lie on are turned, from the depths of the points around each."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import Reconstruction

NUM_NEIGHBORS = 11
"""A point itself, which tells nothing, is one of them."""
REACH_PX = 80.0
"""Neighbors count less with distance, and beyond this one not at all."""
OTHER_SURFACE = 0.08
"""Share of its inverse depth by which a neighbor is off that hardly lies on the same surface (Cauchy kernel)."""
DEPTH_NOISE = 0.02
ROUNDS = 4
TIE_PX2 = 1e-7
"""Of neighbors at one distance the first ones count: which partition picks, and in what order, is the processor's."""


def inverse_depth_slopes(mapper: Reconstruction, points: Int64Array) -> Float64Array:
    """(k, 2) change of inverse depth with a pixel to the right and down in the anchors of points.

    Inverse depth is linear in the pixels of a plane. Neighbors in the anchor give its slope by weighted least squares,
    those off the plane counting little, and with a prior that decides where neighbors are few or lie on a line:
    surfaces face the camera, give or take 45 degrees.

    Args:
      mapper: the map.
      points: (k,) points with a depth.
    """
    slope = np.zeros((len(points), 2))
    anchor = mapper.anchor[points]
    for frame in np.unique(anchor).tolist():
        own = np.flatnonzero(anchor == frame)
        others = points[mapper.is_used[frame, points]]
        inverse_depth = mapper.inverse_depth_in(np.full(len(others), frame), others)
        others, inverse_depth = others[np.isfinite(inverse_depth)], inverse_depth[np.isfinite(inverse_depth)]
        if len(others) > 2:
            at = mapper.position[frame]
            own_depth = mapper.inverse_depth[points[own]]
            slope[own] = _fit(at[points[own]], own_depth, at[others], inverse_depth, float(mapper.intrinsics_px[0]))
    return slope * mapper.inverse_depth[points, None]


def _fit(
    at: Float64Array, inverse_depth: Float64Array, others_at: Float64Array, others: Float64Array, focal_px: float
) -> Float64Array:
    """(k, 2) relative slopes, in 1 / px, at (k, 2) places with (k,) inverse depths among (m, 2) others."""
    squared = np.square(at[:, None, 0] - others_at[:, 0]) + np.square(at[:, None, 1] - others_at[:, 1])
    squared += TIE_PX2 * np.arange(len(others))
    count = min(NUM_NEIGHBORS, len(others))
    near = np.sort(np.argpartition(squared, count - 1, axis=1)[:, :count], axis=1)
    squared = np.take_along_axis(squared, near, axis=1)
    x, y = np.moveaxis(others_at[near] - at[:, None], 2, 0)
    change = others[near] / inverse_depth[:, None] - 1
    sure = np.square(np.maximum(1 - squared / REACH_PX**2, 0.0) / DEPTH_NOISE)
    slope = np.zeros((len(at), 2))
    for _ in range(ROUNDS):
        off = change - x * slope[:, :1] - y * slope[:, 1:]
        weight = sure / (1 + np.square(off / OTHER_SURFACE))
        xx = (weight * x * x).sum(axis=1) + focal_px**2
        yy = (weight * y * y).sum(axis=1) + focal_px**2
        xy = (weight * x * y).sum(axis=1)
        right, down = (weight * x * change).sum(axis=1), (weight * y * change).sum(axis=1)
        slope = np.stack([yy * right - xy * down, xx * down - xy * right], axis=1) / (xx * yy - xy**2)[:, None]
    return slope
