"""Triangulation of inverse depths in reference frames, for known poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float64Array, Int64Array
from native import se3

NOISE_PX = 0.5
"""Standard deviation of each coordinate of a keypoint that `sigma` assumes."""
MIN_DEPTH_RATIO = 0.05
"""Least depth of a point in another frame, over its depth in its reference frame: nearer is behind the camera."""


@dataclass(frozen=True, slots=True)
class TriangulatedDepths:
    """Inverse depths of points in their reference frames.

    Attributes:
      inverse_depth: (k,) at least 0.
      sigma: (k,) standard deviation of the inverse depth for keypoint noise of `NOISE_PX`.
      max_error_px: (k,) largest reprojection error.
      is_behind: (k,) whether the point is behind a camera that observes it (cheirality).
    """

    inverse_depth: Float64Array
    sigma: Float64Array
    max_error_px: Float64Array
    is_behind: BoolArray


def unproject(keypoints_px: Float64Array, intrinsics_px: Float64Array) -> Float64Array:
    """(..., 3) rays with z = 1 in camera coordinates of (..., 2) pixels."""
    fx, fy, cx, cy = intrinsics_px
    x, y = (keypoints_px[..., 0] - cx) / fx, (keypoints_px[..., 1] - cy) / fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def transform_rays(
    cam_from_world: Float64Array, reference: Int64Array, rays: Float64Array, frame: Int64Array, point: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Rays of reference frames in other camera frames.

    (m, 3) directions and (m, 3) reference camera centers.

    A point of inverse depth d lies at direction + d * center, times its depth in the reference frame: the
    inverse-depth parametrization of Civera et al. 2008.

    Args:
      reference, rays: (k,) and (k, 3): reference frame and ray of each point.
      frame, point: (m,) frames, and indices of the points that they observe.
    """
    matrix = se3.to_matrix(cam_from_world)
    rotation, translation = matrix[:, :3, :3], matrix[:, :3, 3]
    center = -np.einsum("nij,ni->nj", rotation, translation)
    rays_world = np.einsum("kij,ki->kj", rotation[reference], rays)
    direction = np.einsum("mij,mj->mi", rotation[frame], rays_world[point])
    offset = np.einsum("mij,mj->mi", rotation[frame], center[reference[point]]) + translation[frame]
    return direction, offset


def triangulate_points(
    keypoints_px: Float64Array,
    is_observed: BoolArray,
    reference: Int64Array,
    cam_from_world: Float64Array,
    intrinsics_px: Float64Array,
) -> TriangulatedDepths:
    """Least-squares inverse depth of each point from all frames that observe it.

    The linear (algebraic) problem is solved twice: weights from the first solution make its error that in pixels.

    Args:
      keypoints_px: (n, k, 2) keypoints of the points in the frames.
      is_observed: (n, k) observations to use.
      reference: (k,) reference frame of each point; it observes the point.
      cam_from_world: (n, 7).
      intrinsics_px: (4,) fx fy cx cy.
    """
    count = len(reference)
    focal = float(intrinsics_px[:2].mean())
    others = is_observed.copy()
    others[reference, np.arange(count)] = False
    frame, point = np.nonzero(others)
    rays = unproject(keypoints_px[reference, np.arange(count)], intrinsics_px)
    direction, center = transform_rays(cam_from_world, reference, rays, frame, point)
    image = unproject(keypoints_px[frame, point], intrinsics_px)[:, :2]
    slope = center[:, :2] - image * center[:, 2:]
    offset = image * direction[:, 2:] - direction[:, :2]
    squares, products = (slope**2).sum(axis=1), (slope * offset).sum(axis=1)

    def solve(weight: Float64Array) -> tuple[Float64Array, Float64Array]:
        information = np.asarray(np.bincount(point, squares * weight, count) + 1e-12, np.float64)
        return np.asarray(np.maximum(np.bincount(point, products * weight, count) / information, 0.0)), information

    inverse_depth, _ = solve(np.ones(len(point)))
    depth_ratio = direction[:, 2] + center[:, 2] * inverse_depth[point]
    scale = focal / np.maximum(np.abs(depth_ratio), MIN_DEPTH_RATIO)
    error = np.linalg.norm(slope * inverse_depth[point, None] - offset, axis=1) * scale
    max_error = np.zeros(count)
    np.maximum.at(max_error, point, error)
    is_behind = np.bincount(point, depth_ratio < MIN_DEPTH_RATIO, count) > 0
    inverse_depth, information = solve(scale**2)
    return TriangulatedDepths(inverse_depth, np.asarray(NOISE_PX / np.sqrt(information)), max_error, is_behind)
