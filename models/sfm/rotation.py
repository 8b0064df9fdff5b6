"""Cameras that only turn: the rotation that explains two frames, and how much it leaves unexplained."""

from __future__ import annotations

import numpy as np

from core.arrays import BoolArray, Float64Array
from models.sfm.triangulation import rays_of

ROUNDS = 8
SCALE_PX = 1.0


def bearings(position: Float64Array, intrinsics_px: Float64Array) -> Float64Array:
    """(..., 3) unit directions of (..., 2) pixel positions for fx, fy, cx, cy."""
    rays = rays_of(position, intrinsics_px)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def rotations_between(
    source: Float64Array, target: Float64Array, is_common: BoolArray, intrinsics_px: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """The rotations that carry pixels of one frame to those of another best, and what each pixel is off by.

    Kabsch's solution on unit directions, reweighted by a Cauchy kernel: points that move on their own, or by
    parallax, pull little.

    Args:
      source, target: (b, k, 2) float64 pixels of the same points in b pairs of frames.
      is_common: (b, k): the points of each pair that count, 3 or more.
      intrinsics_px: (4,) fx, fy, cx, cy.

    Returns:
      (b, 3, 3) target_from_source, and (b, k) errors in pixels, NaN for points that do not count.
    """
    a, b = bearings(source, intrinsics_px), bearings(target, intrinsics_px)
    focal = float(np.mean(intrinsics_px[:2]))
    weight = is_common.astype(np.float64)
    moved = a
    scale = 16 * SCALE_PX
    for _ in range(ROUNDS):
        u, _, vt = np.linalg.svd(np.swapaxes(b * weight[..., None], 1, 2) @ a)
        u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        rotation = u @ vt
        moved = a @ np.swapaxes(rotation, 1, 2)
        squared = np.square(b - moved).sum(axis=2) * (focal / scale) ** 2
        weight = np.where(is_common, 1 / (1 + squared), 0.0)
        scale = max(SCALE_PX, scale / 2)
    height = np.maximum(moved[..., 2:], 1e-3)
    image = intrinsics_px[:2] * moved[..., :2] / height + intrinsics_px[2:]
    error = np.where(is_common, np.linalg.norm(image - target, axis=2), np.nan)
    return rotation, error
