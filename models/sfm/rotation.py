"""Rotations between frames of a camera that only rotates, and their reprojection errors."""

from __future__ import annotations

import numpy as np

from core.arrays import BoolArray, Float64Array
from models.sfm.triangulation import unproject

ROUNDS = 8
LOSS_SCALE_PX = 1.0


def bearings(keypoints_px: Float64Array, intrinsics_px: Float64Array) -> Float64Array:
    """(..., 3) unit bearing vectors of (..., 2) pixels for fx, fy, cx, cy."""
    rays = unproject(keypoints_px, intrinsics_px)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def estimate_rotations(
    source: Float64Array, target: Float64Array, is_common: BoolArray, intrinsics_px: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Rotations that best align bearing vectors of frame pairs, and remaining reprojection errors.

    Kabsch 1976 in iteratively reweighted least squares with a Cauchy loss, whose scale shrinks from 16 px to 1 px:
    moving objects and parallax are outliers.

    Args:
      source, target: (b, k, 2) float64 pixels of correspondences in b pairs of frames.
      is_common: (b, k): the correspondences of each pair, 3 or more.
      intrinsics_px: (4,) fx, fy, cx, cy.

    Returns:
      (b, 3, 3) target_from_source, and (b, k) reprojection errors in pixels, NaN where not `is_common`.
    """
    a, b = bearings(source, intrinsics_px), bearings(target, intrinsics_px)
    focal = float(np.mean(intrinsics_px[:2]))
    weight = is_common.astype(np.float64)
    rotated = a
    scale = 16 * LOSS_SCALE_PX
    for _ in range(ROUNDS):
        u, _, vt = np.linalg.svd(np.swapaxes(b * weight[..., None], 1, 2) @ a)
        u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        rotation = u @ vt
        rotated = a @ np.swapaxes(rotation, 1, 2)
        squared = np.square(b - rotated).sum(axis=2) * (focal / scale) ** 2
        weight = np.where(is_common, 1 / (1 + squared), 0.0)
        scale = max(LOSS_SCALE_PX, scale / 2)
    depth = np.maximum(rotated[..., 2:], 1e-3)
    image = intrinsics_px[:2] * rotated[..., :2] / depth + intrinsics_px[2:]
    error = np.where(is_common, np.linalg.norm(image - target, axis=2), np.nan)
    return rotation, error
