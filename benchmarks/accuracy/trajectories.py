"""Errors of estimated camera trajectories.

The arithmetic is this module's own and shares no code with what it measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float64Array

MIN_POSES = 3
# Shorter trajectories, in the units of the truth, are rounding.
MIN_LENGTH = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryError:
    """Errors of an estimated trajectory against the true one.

    Attributes:
      ate_percent: root mean square distance of the camera centers after the best similarity (scale, rotation,
        translation), in % of the true path's length; infinite with fewer than three poses, NaN if the
        true camera is static.
      registered_share: frames with a pose, 0 to 1.
      rpe_translation_percent: root mean square error of the translation from one frame to the next, in % of
        the mean true step; NaN as above.
      rpe_rotation_deg: root mean square error of the rotation from one frame to the next.
    """

    ate_percent: float
    registered_share: float
    rpe_translation_percent: float
    rpe_rotation_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Float64Array
    translation: Float64Array

    def move(self, points: Float64Array) -> Float64Array:
        """Maps points (n, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


def compare_trajectories(estimate: Float64Array, registered: BoolArray, truth: Float64Array) -> TrajectoryError:
    """Errors of cam_from_world (n, 7) against the true ones (n, 7), frame by frame."""
    share = float(registered.mean())
    if registered.sum() < MIN_POSES:
        return TrajectoryError(
            ate_percent=np.inf, registered_share=share, rpe_translation_percent=np.inf, rpe_rotation_deg=np.inf
        )
    length = path_length(truth)
    found, true = to_matrix(invert(estimate[registered])), to_matrix(invert(truth[registered]))
    similarity = align(found[:, :3, 3], true[:, :3, 3])
    ate = rms(absolute_errors(found, true, similarity)[0])
    # Only frames that follow each other: a step over a gap would weigh more.
    pairs = np.diff(np.flatnonzero(registered)) == 1
    steps, turns_deg = relative_errors(found, true, similarity.scale)
    mean_step = length / (len(truth) - 1)
    return TrajectoryError(
        ate_percent=100 * ate / length if length > MIN_LENGTH else np.nan,
        registered_share=share,
        rpe_translation_percent=100 * rms(steps[pairs]) / mean_step if length > MIN_LENGTH else np.nan,
        rpe_rotation_deg=rms(turns_deg[pairs]),
    )


def align(points: Float64Array, target: Float64Array, *, with_scale: bool = True) -> Similarity:
    """Returns the least-squares similarity of points (n, 3) to targets (n, 3) (Umeyama 1991).

    Points that all coincide keep their scale and directions.
    """
    mean, target_mean = points.mean(0), target.mean(0)
    centered, target_centered = points - mean, target - target_mean
    variance = float((centered**2).sum())
    rotation, scale = np.eye(3), 1.0
    if variance > 0:
        u, d, vt = np.linalg.svd(target_centered.T @ centered)
        signs = np.array([1, 1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
        rotation = (u * signs) @ vt
        scale = float((d * signs).sum()) / variance if with_scale else 1.0
    return Similarity(scale=scale, rotation=rotation, translation=target_mean - scale * rotation @ mean)


def absolute_errors(
    found: Float64Array, true: Float64Array, similarity: Similarity
) -> tuple[Float64Array, Float64Array]:
    """Distances of centers (n,), and angles (n,) in degrees, of aligned world_from_cam (n, 4, 4)."""
    distance = np.linalg.norm(similarity.move(found[:, :3, 3]) - true[:, :3, 3], axis=1)
    return distance, angle_deg(np.swapaxes(true[:, :3, :3], 1, 2) @ similarity.rotation @ found[:, :3, :3])


def relative_errors(found: Float64Array, true: Float64Array, scale: float) -> tuple[Float64Array, Float64Array]:
    """Errors (n - 1,) of the motions between successive world_from_cam: distances, and angles in degrees.

    As Sturm et al. (2012) define them for a distance of one frame, after scaling the estimated translations.
    """
    found = found.copy()
    found[:, :3, 3] *= scale
    error = np.linalg.inv(_steps(true)) @ _steps(found)
    return np.linalg.norm(error[:, :3, 3], axis=1), angle_deg(error[:, :3, :3])


def path_length(cam_from_world: Float64Array) -> float:
    """Returns the length of the trajectory of the camera center."""
    centers = invert(cam_from_world)[:, :3]
    return float(np.linalg.norm(np.diff(centers, axis=0), axis=1).sum())


def rms(values: Float64Array) -> float:
    """Root mean square; NaN without values."""
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def angle_deg(rotation: Float64Array) -> Float64Array:
    """Angles (n,) of rotations (n, 3, 3) in degrees, exact for small ones too."""
    skew = rotation - np.swapaxes(rotation, 1, 2)
    sine = np.linalg.norm(skew[:, [2, 0, 1], [1, 2, 0]], axis=1) / 2
    return np.asarray(np.degrees(np.arctan2(sine, (np.trace(rotation, axis1=1, axis2=2) - 1) / 2)))


def to_matrix(poses: Float64Array) -> Float64Array:
    """Returns matrices (n, 4, 4) of poses (n, 7); quaternions of any norm but 0."""
    x, y, z, w = (poses[:, 3:] / np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)).T
    matrix = np.zeros((len(poses), 4, 4))
    matrix[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], 1)
    matrix[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], 1)
    matrix[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], 1)
    matrix[:, :3, 3] = poses[:, :3]
    matrix[:, 3, 3] = 1
    return matrix


def invert(poses: Float64Array) -> Float64Array:
    """Returns the inverse of poses (n, 7)."""
    matrix = to_matrix(poses)
    translation = -np.einsum("nji,nj->ni", matrix[:, :3, :3], matrix[:, :3, 3])
    quaternion = poses[:, 3:] / np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    return np.concatenate([translation, quaternion * [-1, -1, -1, 1]], axis=1)


def _steps(world_from_cam: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.inv(world_from_cam[:-1]) @ world_from_cam[1:])
