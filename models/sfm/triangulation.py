"""Depths of points from the frames that see them, all points at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float64Array, Int64Array
from native import se3

NOISE_PX = 0.5
MIN_HEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Depths:
    """Inverse depths of points in their anchor frames.

    Attributes:
      inverse_depth: (k,) at least 0.
      sigma: (k,) standard deviation, for observations that are off by `NOISE_PX`.
      worst_px: (k,) largest distance of an observation from where the point should be seen.
      is_behind: (k,) whether a frame that sees the point has it behind it.
    """

    inverse_depth: Float64Array
    sigma: Float64Array
    worst_px: Float64Array
    is_behind: BoolArray


def rays_of(position: Float64Array, intrinsics_px: Float64Array) -> Float64Array:
    """(..., 3) directions with z = 1 of (..., 2) pixels."""
    fx, fy, cx, cy = intrinsics_px
    x, y = (position[..., 0] - cx) / fx, (position[..., 1] - cy) / fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def into_frames(
    cam_from_world: Float64Array, anchor: Int64Array, rays: Float64Array, frame: Int64Array, which: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Rays of anchor frames as other frames have them: direction (m, 3), and the anchor's center (m, 3).

    A point of inverse depth d on the ray lies, up to its depth in the anchor, at direction + d * center.

    Args:
      anchor, rays: (k,) and (k, 3): frame and ray of each point.
      frame, which: (m,) frames, and points that they see.
    """
    matrix = se3.to_matrix(cam_from_world)
    rotation, translation = matrix[:, :3, :3], matrix[:, :3, 3]
    center = -np.einsum("nij,ni->nj", rotation, translation)
    in_world = np.einsum("kij,ki->kj", rotation[anchor], rays)
    direction = np.einsum("mij,mj->mi", rotation[frame], in_world[which])
    offset = np.einsum("mij,mj->mi", rotation[frame], center[anchor[which]]) + translation[frame]
    return direction, offset


def solve_depths(
    position: Float64Array,
    seen: BoolArray,
    anchor: Int64Array,
    cam_from_world: Float64Array,
    intrinsics_px: Float64Array,
) -> Depths:
    """Least squares for one unknown a point, twice: with weights from the first answer the error is in pixels.

    Args:
      position: (n, k, 2) pixels of the points in the frames.
      seen: (n, k): what counts.
      anchor: (k,) frame of each point that its depth is meant for; it sees the point.
      cam_from_world: (n, 7).
      intrinsics_px: (4,) fx fy cx cy.
    """
    count = len(anchor)
    focal = float(intrinsics_px[:2].mean())
    others = seen.copy()
    others[anchor, np.arange(count)] = False
    frame, which = np.nonzero(others)
    rays = rays_of(position[anchor, np.arange(count)], intrinsics_px)
    direction, center = into_frames(cam_from_world, anchor, rays, frame, which)
    image = rays_of(position[frame, which], intrinsics_px)[:, :2]
    slope = center[:, :2] - image * center[:, 2:]
    offset = image * direction[:, 2:] - direction[:, :2]
    squares, products = (slope**2).sum(axis=1), (slope * offset).sum(axis=1)

    def solve(weight: Float64Array) -> tuple[Float64Array, Float64Array]:
        information = np.asarray(np.bincount(which, squares * weight, count) + 1e-12, np.float64)
        return np.asarray(np.maximum(np.bincount(which, products * weight, count) / information, 0.0)), information

    depth, _ = solve(np.ones(len(which)))
    height = direction[:, 2] + center[:, 2] * depth[which]
    scale = focal / np.maximum(np.abs(height), MIN_HEIGHT)
    error = np.linalg.norm(slope * depth[which, None] - offset, axis=1) * scale
    worst = np.zeros(count)
    np.maximum.at(worst, which, error)
    is_behind = np.bincount(which, height < MIN_HEIGHT, count) > 0
    depth, information = solve(scale**2)
    return Depths(depth, np.asarray(NOISE_PX / np.sqrt(information)), worst, is_behind)
