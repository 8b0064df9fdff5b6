"""Conversions of camera poses and pinhole cameras, as plain arrays.

Poses are [tx ty tz qx qy qz qw]; camera axes are x right, y down, z forward; pixel centers lie at integers.
Numbers that are not finite (frames without a pose) stay so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array
from native import se3


def invert_poses(poses: npt.ArrayLike) -> Float64Array:
    """Inverts (n, 7) poses: cam_from_world to world_from_cam, or back.

    The translation of world_from_cam is the camera center.
    """
    return se3.invert(poses)


def pose_matrices(poses: npt.ArrayLike) -> Float64Array:
    """(n, 7) poses to (n, 4, 4) matrices of the same direction."""
    return se3.to_matrix(poses)


def unproject(depth: npt.ArrayLike, intrinsics_px: npt.ArrayLike, pixels: npt.ArrayLike) -> Float64Array:
    """Points in camera axes.

    Args:
      depth: (n,) z-depth.
      intrinsics_px: (4,) fx fy cx cy.
      pixels: (n, 2) x, y.

    Returns:
      (n, 3) in the unit of `depth`.
    """
    fx, fy, cx, cy = np.asarray(intrinsics_px, np.float64)
    xy, z = np.asarray(pixels, np.float64), np.asarray(depth, np.float64)
    return np.stack([(xy[:, 0] - cx) / fx * z, (xy[:, 1] - cy) / fy * z, z], axis=1)


def to_world(points_cam: npt.ArrayLike, cam_from_world: npt.ArrayLike) -> Float64Array:
    """(n, 3) points in the world, from camera coordinates and one pose `cam_from_world`."""
    return se3.act(se3.invert(cam_from_world), points_cam)
