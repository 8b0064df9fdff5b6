"""Camera paths with known motion: poses from the camera's own speeds, or wandering ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def quaternion(axis, angle_rad):
    axis = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    return np.concatenate([np.sin(angle_rad / 2) * axis, [np.cos(angle_rad / 2)]])


def matrix(quaternion):
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def product(a, b):
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def poses_from(centers, world_from_cam):
    """(n, 7) cam_from_world from camera centers (n, 3) and quaternions (n, 4)."""
    cam_from_world = np.asarray(world_from_cam) * [-1, -1, -1, 1]
    t = [-matrix(q) @ c for q, c in zip(cam_from_world, centers, strict=True)]
    return np.concatenate([t, cam_from_world], axis=1)


def fly(times_s, velocity, turn_deg_s, start=(0, 0, 0), start_quaternion=(0, 0, 0, 1)):
    """Poses of a camera with given speeds in its own axes.

    `velocity` and `turn_deg_s` are functions of time that give (3,) arrays; the motion is integrated finely.
    """
    center, attitude = np.array(start, dtype=np.float64), np.array(start_quaternion, dtype=np.float64)
    centers, attitudes = [center], [attitude]
    for t0, t1 in pairwise(times_s):
        count = max(1, round((t1 - t0) / 0.01))
        dt = (t1 - t0) / count
        for k in range(count):
            t = t0 + (k + 0.5) * dt
            turn = np.radians(np.asarray(turn_deg_s(t), dtype=np.float64)) * dt
            angle = np.linalg.norm(turn)
            half = product(attitude, quaternion(turn, angle / 2)) if angle else attitude
            center = center + matrix(half) @ np.asarray(velocity(t), dtype=np.float64) * dt
            attitude = product(attitude, quaternion(turn, angle)) if angle else attitude
        centers.append(center)
        attitudes.append(attitude / np.linalg.norm(attitude))
    return poses_from(np.array(centers), np.array(attitudes))


def steady(velocity=(0, 0, 0), turn_deg_s=(0, 0, 0), seconds=4.0, rate=5.0, **start):
    """(times, poses) of a camera that moves evenly in its own axes."""
    times_s = np.arange(round(seconds * rate) + 1) / rate
    return times_s, fly(times_s, lambda t: velocity, lambda t: turn_deg_s, **start)


def wander(num_poses, seed, speed=1.0):
    """(n, 7) float32 cam_from_world of a smooth wandering camera: sums of sines, no random numbers."""
    t = np.arange(num_poses, dtype=np.float64)
    centers, angles = np.zeros((num_poses, 3)), np.zeros((num_poses, 3))
    for axis in range(3):
        for k in range(1, 4):
            phase = 2.399 * seed + 1.7 * axis + 0.9 * k
            centers[:, axis] += (
                speed * np.cos(1.3 * phase) * np.sin(0.11 * k * t * (1 + 0.3 * np.sin(seed)) + phase) / k
            )
            angles[:, axis] += 0.3 * np.sin(2.1 * phase) * np.sin(0.07 * k * t + 2 * phase) / k
    attitudes = [
        product(product(quaternion([0, 1, 0], y), quaternion([1, 0, 0], x)), quaternion([0, 0, 1], z))
        for x, y, z in angles
    ]
    return poses_from(centers - centers[0], attitudes).astype(np.float32)


def move_world(poses, rotation, shift):
    """The same cameras seen from a world frame that is rotated (quaternion) and shifted."""
    cam_from_world = np.array([product(q, np.asarray(rotation)) for q in poses[:, 3:]])
    t = poses[:, :3] - np.array([matrix(q) @ shift for q in cam_from_world])
    return np.concatenate([t, cam_from_world], axis=1)
