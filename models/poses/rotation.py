"""Cameras that only turn: the rotation that explains two frames, and how much it leaves unexplained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.poses.triangulation import rays_of

FloatArray = npt.NDArray[np.float64]

ROUNDS = 8
SCALE_PX = 1.0


def bearings(position: FloatArray, intrinsics_px: FloatArray) -> FloatArray:
    """(..., 3) unit directions of (..., 2) pixel positions for fx, fy, cx, cy."""
    rays = rays_of(position, intrinsics_px)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def rotation_between(
    source: FloatArray, target: FloatArray, intrinsics_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The rotation that carries pixels of one frame to those of another best, and what each is off by.

    Kabsch's solution on unit directions, reweighted by a Cauchy kernel: points that move on their own, or by
    parallax, pull little.

    Args:
      source, target: (k, 2) float64 pixels of the same points, k >= 3.

    Returns:
      (3, 3) target_from_source, and (k,) errors in pixels.
    """
    a, b = bearings(source, intrinsics_px), bearings(target, intrinsics_px)
    focal = float(np.mean(intrinsics_px[:2]))
    weight = np.ones(len(a))
    rotation = np.eye(3)
    scale = 16 * SCALE_PX
    for _ in range(ROUNDS):
        u, _, vt = np.linalg.svd((b * weight[:, None]).T @ a)
        rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        error = np.linalg.norm(b - a @ rotation.T, axis=1) * focal
        weight = 1 / (1 + (error / scale) ** 2)
        scale = max(SCALE_PX, scale / 2)
    moved = a @ rotation.T
    fx, fy, cx, cy = intrinsics_px
    height = np.maximum(moved[:, 2], 1e-3)
    image = np.stack([fx * moved[:, 0] / height + cx, fy * moved[:, 1] / height + cy], axis=1)
    return rotation, np.linalg.norm(image - target, axis=1)
