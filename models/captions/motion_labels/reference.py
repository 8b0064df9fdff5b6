"""Motion labels by SpatialVID's scripts, bug for bug.

Both scripts filter with a lagging moving average, take the translation of cam_from_world for the camera center, and
count poses, not seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import sqrt

import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array
from models.captions.motion_labels.detection import MotionLabels
from models.captions.motion_labels.segments import MotionSegment, merge_steps
from models.captions.motion_labels.settings import MotionLabelSettings
from models.captions.motion_labels.vocabulary import NUM_TRANSLATIONS, OPPOSITES, STAY, name_directions
from models.geometry.camera_path import conjugate, multiply, rotate, validate_poses
from models.geometry.trajectory_reference import measure_trajectory
from native.elementary import arcsin

# utils/get_instructions.py
PLAIN_STRIDE = 2
PLAIN_ALPHA = 0.1
PLAIN_TRANSLATION = 0.02
PLAIN_ROTATION_DEG = 0.5

# utils/get_instructions_enhanced.py
INTERVALS = (1, 3, 5)
ALPHAS = (0.03, 0.05, 0.1)
ROTATION_DEG = 1.5
ROTATION_DIVISOR = 1.8
TRANSLATION_DIVISOR = 1.1
MIN_TRANSLATION = 0.01
GAP = 3
KEPT_SHARE = 0.5
MAX_LABELS = 4


def label_motion(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    scene_depth: float | None,
    has_translation: bool = True,
    settings: MotionLabelSettings | None = None,
) -> MotionLabels:
    """Labels of `label_voted`, without a sentence. Arguments as in `detection`; only the poses are used."""
    return MotionLabels(segments=label_voted(cam_from_world), sentence=None, reason="SpatialVID writes no sentence")


def label_plain(cam_from_world: npt.ArrayLike) -> tuple[MotionSegment, ...]:
    """Labels of utils/get_instructions.py: compares neighbors among every second pose.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1, lengths in units in which the 98th percentile of
        inverse depth is 2.

    Returns:
      Segments whose ordinals count every second pose, as in the script; none for fewer than three poses.

    Raises:
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = _filter(_load(cam_from_world)[::PLAIN_STRIDE], PLAIN_ALPHA)
    return merge_steps(_compare(poses, 1, 1, PLAIN_TRANSLATION, np.deg2rad(PLAIN_ROTATION_DEG)))


def label_voted(cam_from_world: npt.ArrayLike, move_dist: float | None = None) -> tuple[MotionSegment, ...]:
    """Labels of utils/get_instructions_enhanced.py: nine passes vote for the labels of each step.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1, lengths in units in which the 98th percentile of
        inverse depth is 2.
      move_dist: SpatialVID's path length; measured when None.

    Returns:
      Segments from ordinal 0 to the last one that a pass covers (n - 1 or n - 2); none for one pose.

    Raises:
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = _load(cam_from_world)
    if move_dist is None:
        move_dist = measure_trajectory(poses, times_s=np.arange(len(poses))).move_dist or 0.0
    mean_step = max(move_dist / len(poses) / TRANSLATION_DIVISOR, MIN_TRANSLATION)
    votes: list[dict[str, int]] = []
    for interval, alpha in product(INTERVALS, ALPHAS):
        stride = int(sqrt(interval) + 1)
        turn_rad = np.deg2rad(ROTATION_DEG * (sqrt(interval) / ROTATION_DIVISOR))
        passed = _compare(_filter(poses, alpha), interval, stride, mean_step * sqrt(interval), turn_rad)
        for index, labels in enumerate(passed):
            first = index * stride
            votes.extend({} for _ in range(first + interval - len(votes)))
            for step in votes[first : first + interval]:
                for label in labels:
                    step[label] = step.get(label, 0) + 1
    return merge_steps([_select(step) for step in votes])


def _load(cam_from_world: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """The validated poses in their own precision, in which the scripts filter."""
    validate_poses(cam_from_world)
    poses = np.asarray(cam_from_world)
    return poses if poses.dtype == np.float32 else poses.astype(np.float64)


def _filter(poses: npt.NDArray[np.floating], alpha: float) -> Float64Array:
    """Exponential moving average of the seven numbers; quaternions sign-aligned and normalized."""
    filtered = poses.copy()
    for i in range(1, len(poses)):
        before, row = filtered[i - 1], filtered[i]
        if np.dot(before[3:], row[3:]) < 0:
            row[3:] *= -1
        row[:3] = alpha * row[:3] + (1 - alpha) * before[:3]
        mixed = (1 - alpha) * before[3:] + alpha * row[3:]
        row[3:] = mixed / np.linalg.norm(mixed)
    return filtered.astype(np.float64)


def _compare(
    poses: Float64Array, interval: int, stride: int, min_move: float, min_turn_rad: float
) -> list[tuple[str, ...]]:
    """The label rule between poses `interval` apart, at every `stride`-th pose."""
    quaternions = poses[:, 3:] / np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    first = np.arange(0, max(len(poses) - interval, 0), stride)
    back = conjugate(quaternions[first])
    moved = rotate(back, poses[first, :3] - poses[first + interval, :3])[:, [2, 0, 1]]
    turned = -_euler_yxz(multiply(quaternions[first + interval], back))
    motion = np.concatenate([moved, turned], axis=1)
    limits = np.repeat([min_move, min_turn_rad], NUM_TRANSLATIONS)
    signs = np.sign(motion).astype(np.int8) * (np.abs(motion) > limits)
    return [name_directions(row) for row in signs]


def _euler_yxz(quaternions: Float64Array) -> Float64Array:
    """(m, 3) yaw, pitch, roll in radians."""
    x, y, z, w = np.moveaxis(quaternions, -1, 0)
    sine = np.clip(2 * (y * z + w * x), -1.0, 1.0)
    upright = np.abs(sine) < 1 - 1e-14
    yaw = np.where(
        upright,
        np.arctan2(2 * (w * y - x * z), 1 - 2 * (x * x + y * y)),
        np.arctan2(2 * (x * z + w * y), 1 - 2 * (y * y + z * z)),
    )
    roll = np.where(upright, np.arctan2(2 * (w * z - x * y), 1 - 2 * (x * x + z * z)), 0.0)
    return np.stack([yaw, arcsin(sine), roll], axis=-1)


def _select(votes: Mapping[str, int]) -> tuple[str, ...]:
    """The winning labels of one step."""
    ranked: list[str] = []
    for label in sorted(votes, key=lambda w: -votes[w]):
        if OPPOSITES.get(label) not in ranked:
            ranked.append(label)
    moving: Sequence[str] = [label for label in ranked if label != STAY]
    if not moving:
        return (STAY,)
    most = votes[moving[0]]
    if len(moving) == 1:
        return (moving[0],)
    if most >= GAP * votes[moving[1]]:
        return tuple(label for label in moving if votes[label] == most)
    kept = tuple(label for label in moving if votes[label] >= KEPT_SHARE * most)[:MAX_LABELS]
    return kept if len(kept) >= 2 else tuple(moving[:2])
