"""Tracks of random 3D points seen by cameras with known poses."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64Array
from models.sfm.tracks import Tracks
from native import se3

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def project_tracks(
    poses: Float64Array,
    points: Float64Array,
    noise_px: float = 0.0,
    zoom: Float64Array | None = None,
) -> Tracks:
    """Tracks of points (k, 3) in cameras (n, 7), zoomed about the center."""
    local = np.stack([se3.act(np.tile(pose, (len(points), 1)), points) for pose in poses])
    offset = INTRINSICS_PX[:2] * local[..., :2] / local[..., 2:]
    if zoom is not None:
        offset = offset * zoom[:, None, None]
    noise = np.random.default_rng(1).normal(0, noise_px, offset.shape)
    return Tracks(keypoints_px=offset + INTRINSICS_PX[2:] + noise)


def random_points(count: int = 300) -> Float64Array:
    """Points (k, 3) 3 to 9 m in front of the first camera."""
    return np.random.default_rng(0).uniform([-2, -1.5, 3], [2, 1.5, 9], (count, 3))


def make_poses(num_frames: int, velocity: tuple[float, float, float] = (0, 0, 0), yaw_deg: float = 0.0) -> Float64Array:
    """(n, 7) cam_from_world of a camera with steady velocity and yaw rate, per frame."""
    frames = np.arange(num_frames)[:, None]
    poses = se3.exp(np.concatenate([np.zeros((num_frames, 3)), frames * [0.0, np.radians(yaw_deg), 0.0]], axis=1))
    poses[:, :3] = -frames * np.asarray(velocity, np.float64)
    return np.asarray(poses)
