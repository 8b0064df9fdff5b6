"""Where anchors see their points: as uncertain as what other frames see."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import FAR, MIN_DEPTH_RATIO, Reconstruction
from models.sfm.triangulation import rays_of
from native import se3

ROUNDS = 3
ITERATIONS = 3
LEAST_CURVATURE = 1e-9
"""Keeps points where they are that no other frame sees, and depths without parallax."""


def free_anchors(mapper: Reconstruction, refine_focal: bool) -> None:
    """Moves points in their anchors to where all frames together see them, by turns with adjustments.

    Bundle adjustment takes a point's place in its anchor as exact. Noise of the anchor's picture would be shared by
    all frames that the patch is found in, and pull at every pose.

    Args:
      mapper: an adjusted map; another adjustment should follow.
      refine_focal: whether adjustments are of the focal length too.
    """
    points = np.flatnonzero(np.isfinite(mapper.inverse_depth))
    mapper.position = mapper.position.copy()  # the tracks stay as they are
    seen_at = mapper.position[mapper.anchor[points], points]
    for turn in range(ROUNDS):
        if turn:
            mapper.adjust(iterations=ITERATIONS, focal_too=refine_focal)
        _place(mapper, points, seen_at)


def _place(mapper: Reconstruction, points: Int64Array, seen_at: Float64Array) -> None:
    """One Gauss-Newton step of all three coordinates of points, poses as they are.

    Args:
      mapper: the map.
      points: (k,) points with a depth.
      seen_at: (k, 2) where the anchors saw them; counts as much as the mean of a point's other observations.
    """
    count, places = len(points), np.arange(len(points))
    anchor, inverse_depth = mapper.anchor[points], mapper.inverse_depth[points]
    at = mapper.position[anchor, points]
    used = mapper.is_used[:, points] & mapper.is_registered[:, None]
    used[anchor, places] = False
    frame, which = np.nonzero(used)
    weight = mapper.weight[frame, points[which]].astype(np.float64)
    own = np.bincount(which, weight, count) / np.maximum(np.bincount(which, minlength=count), 1)
    error, slope = _errors(mapper, points, frame, which)
    weight /= 1 + np.square(error).sum(axis=1) / mapper.robust_scale_px**2
    curvature, pull = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for i in range(3):
        pull[:, i] = np.bincount(which, weight * (slope[:, :, i] * error).sum(axis=1), count)
        for k in range(i + 1):
            curvature[:, i, k] = np.bincount(which, weight * (slope[:, :, i] * slope[:, :, k]).sum(axis=1), count)
            curvature[:, k, i] = curvature[:, i, k]
    pull[:, :2] += own[:, None] * (seen_at - at)
    curvature[:, [0, 1], [0, 1]] += own[:, None]
    curvature[:, [0, 1, 2], [0, 1, 2]] += LEAST_CURVATURE
    step = _solve(curvature, pull)
    mapper.position[anchor, points] = at + step[:, :2]
    mapper.inverse_depth[points] = np.clip(
        inverse_depth + step[:, 2], np.maximum(inverse_depth / 2, FAR), inverse_depth * 2
    )


def _solve(matrix: Float64Array, right: Float64Array) -> Float64Array:
    """(k, 3) solutions of (k, 3, 3) positive definite systems, by elimination of the last unknown."""
    share = matrix[:, :2, 2] / matrix[:, 2:, 2]
    xx, xy, yy = (matrix[:, i, k] - share[:, i] * matrix[:, k, 2] for i, k in ((0, 0), (0, 1), (1, 1)))
    a, b = (right[:, :2] - share * right[:, 2:]).T
    x, y = np.array([yy * a - xy * b, xx * b - xy * a]) / (xx * yy - xy**2)
    z = right[:, 2] / matrix[:, 2, 2] - share[:, 0] * x - share[:, 1] * y
    return np.stack([x, y, z], axis=1)


def _errors(
    mapper: Reconstruction, points: Int64Array, frame: Int64Array, which: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """(m, 2) what observations are off by, and (m, 2, 3) how their places change with x, y and inverse depth."""
    anchor = mapper.anchor[points]
    fx, fy, cx, cy = mapper.intrinsics_px
    pose = mapper.cam_from_world
    moves = se3.to_matrix(se3.compose(pose[frame], se3.invert(pose)[anchor[which]]))
    turn, shift = moves[:, :3, :3], moves[:, :3, 3]
    rays = rays_of(mapper.position[anchor, points], mapper.intrinsics_px)
    inverse_depth = mapper.inverse_depth[points[which], None]
    x, y, z = (np.einsum("mij,mj->mi", turn, rays[which]) + inverse_depth * shift).T
    z = np.maximum(z, MIN_DEPTH_RATIO)
    image = np.stack([x / z, y / z], axis=1)
    change = np.stack([turn[:, :, 0] / fx, turn[:, :, 1] / fy, shift], axis=2)
    slope = (change[:, :2] - image[:, :, None] * change[:, 2:]) * (np.array([[fx], [fy]]) / z[:, None, None])
    return mapper.position[frame, points[which]] - (image * [fx, fy] + [cx, cy]), slope
