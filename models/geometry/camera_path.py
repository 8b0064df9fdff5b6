"""Camera trajectories as arrays: validation, camera centers, interpolation, and quaternion operations.

Quaternions are (..., 4) x, y, z, w with the Hamilton product; poses are (n, 7) `cam_from_world`
[tx ty tz qx qy qz qw] with X_cam = R(q) X_world + t.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array
from core.failures import ItemError
from native import se3

MAX_NORM_ERROR = 0.01


def validate_poses(cam_from_world: npt.ArrayLike) -> Float64Array:
    """Valid poses as float64, with unit quaternions that have the same sign as their neighbors.

    Args:
      cam_from_world: (n, 7), n >= 1.

    Raises:
      ValueError: for another shape.
      ItemError: `BadPoses` for values that are not finite, or quaternions whose norm is off 1 by over 1 %.
    """
    poses = np.array(cam_from_world, dtype=np.float64)
    if poses.ndim != 2 or poses.shape[0] < 1 or poses.shape[1] != 7:
        raise ValueError(f"poses must have the shape (n, 7) with n >= 1, got {poses.shape}")
    remedy = "estimate the poses of this clip again, or leave out the frames without a pose"
    bad = ~np.isfinite(poses).all(axis=1)
    if bad.any():
        raise ItemError(
            "BadPoses", f"{int(bad.sum())} of {len(poses)} poses are not finite, first {int(bad.argmax())}", remedy
        )
    norms = np.linalg.norm(poses[:, 3:], axis=1)
    off = np.abs(norms - 1.0) > MAX_NORM_ERROR
    if off.any():
        first = int(off.argmax())
        raise ItemError("BadPoses", f"the quaternion of pose {first} has norm {norms[first]:.4g}, not 1", remedy)
    poses[:, 3:] /= norms[:, None]
    flips = np.where(np.sum(poses[1:, 3:] * poses[:-1, 3:], axis=1) < 0, -1.0, 1.0)
    poses[1:, 3:] *= np.cumprod(flips)[:, None]
    return poses


def validate_times(times_s: npt.ArrayLike, num_poses: int) -> Float64Array:
    """Valid (n,) times of the poses, in seconds, as float64.

    Raises:
      ValueError: if there is not one time per pose, or they do not increase.
    """
    times = np.array(times_s, dtype=np.float64)
    if times.shape != (num_poses,):
        raise ValueError(f"times_s must have one value for each of {num_poses} poses, got the shape {times.shape}")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError(f"times_s must be finite and increase, got {times!r}")
    return times


def camera_centers(poses: Float64Array) -> Float64Array:
    """(n, 3) camera centers in the world, -R^T t, in the unit of the poses."""
    return -rotate(conjugate(poses[:, 3:]), poses[:, :3])


def relative_rotations(poses: Float64Array) -> Float64Array:
    """(n - 1, 4) rotations from camera i to camera i + 1."""
    return multiply(poses[1:, 3:], conjugate(poses[:-1, 3:]))


def midpoint_rotations(poses: Float64Array) -> Float64Array:
    """(n - 1, 4) `cam_from_world` rotations halfway between neighbors of valid poses (slerp)."""
    sums: Float64Array = poses[1:, 3:] + poses[:-1, 3:]
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def conjugate(quaternions: Float64Array) -> Float64Array:
    """The inverse of unit quaternions."""
    return quaternions * np.array([-1.0, -1.0, -1.0, 1.0])


def multiply(first: Float64Array, second: Float64Array) -> Float64Array:
    """Hamilton product: the rotation by `second`, then by `first`."""
    u, v = first[..., :3], second[..., :3]
    a, b = first[..., 3:], second[..., 3:]
    vector = a * v + b * u + np.cross(u, v)
    return np.concatenate([vector, a * b - np.sum(u * v, axis=-1, keepdims=True)], axis=-1)


def rotate(quaternions: Float64Array, vectors: Float64Array) -> Float64Array:
    """Rotates (..., 3) vectors by unit quaternions."""
    axis = quaternions[..., :3]
    twice = 2.0 * np.cross(axis, vectors)
    return vectors + quaternions[..., 3:] * twice + np.cross(axis, twice)


def rotation_vectors(quaternions: Float64Array) -> Float64Array:
    """(..., 3) rotation vectors (SO(3) logarithm) of quaternions.

    Angles are 0 to pi, for either sign of the quaternion.
    """
    signed = np.where(quaternions[..., 3:] < 0, -quaternions, quaternions)
    sine = np.linalg.norm(signed[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, signed[..., 3:])
    factor = np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 1e-12)
    return signed[..., :3] * factor


def registered_span(cam_from_world: npt.ArrayLike) -> slice:
    """Slice from the first to the last registered frame of (n, 7) poses.

    Poses are NaN where not registered.

    Raises:
      ValueError: if no frame has a pose.
    """
    registered = np.flatnonzero(np.isfinite(np.asarray(cam_from_world, dtype=np.float64)).all(axis=1))
    if not len(registered):
        raise ValueError("no frame has a pose")
    return slice(int(registered[0]), int(registered[-1]) + 1)


def interpolate_missing_poses(cam_from_world: npt.ArrayLike, times_s: npt.ArrayLike) -> Float64Array:
    """Poses with NaN rows interpolated between the registered frames around them.

    Args:
      cam_from_world: (n, 7), the first and the last one finite (`registered_span`).
      times_s: (n,) increasing times, seconds.
    """
    poses = np.array(cam_from_world, dtype=np.float64)
    times = validate_times(times_s, len(poses))
    is_registered = np.isfinite(poses).all(axis=1)
    registered = np.flatnonzero(is_registered)
    for index in np.flatnonzero(~is_registered):
        after = int(np.searchsorted(registered, index))
        a, b = registered[after - 1], registered[after]
        poses[index] = se3.interpolate(poses[a], poses[b], (times[index] - times[a]) / (times[b] - times[a]))
    return poses
