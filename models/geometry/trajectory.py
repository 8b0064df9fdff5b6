"""Trajectory metrics of a clip: length, rotation, turns, jerk, and pose anomalies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from core.annotations import TrajectoryMetrics
from core.arrays import Float64Array
from models.geometry.camera_path import (
    camera_centers,
    conjugate,
    relative_rotations,
    rotate,
    rotation_vectors,
    validate_poses,
    validate_times,
)
from native.elementary import exp

# SpatialVID utils/evaluation.py. Lengths are in units in which the 98th percentile of inverse depth is 2.
DIST_LEVELS = (0.08, 0.28, 0.92, 2.41)
MAX_PREDICTION_ERROR = 0.03
MIN_TURN_RAD = 0.45

# SpatialVID's steps in seconds, at 5 poses a second. Chords much shorter than the extent have no reliable direction.
STEP_S = 0.2
TURN_SMOOTHING_S = 1.0
TURN_DISTANCE_S = 1.0
MIN_CHORD_SHARE = 0.05
TURN_DECIMALS = 6

ONE_POSE = "one pose shows no motion"
NO_MASKS = "there are no dynamic masks"
STANDS_STILL = "the camera does not translate"


def measure_trajectory(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    has_translation: bool = True,
    dynamic_ratios: npt.ArrayLike | None = None,
) -> TrajectoryMetrics:
    """Trajectory metrics of a clip, with lengths measured between camera centers and time in seconds.

    Nothing depends on the world frame, and little on the rate of the poses (their noise adds up in `move_dist` and in
    the jerks at any rate).

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1, at the scale in which the 98th percentile of inverse depth
        is 2.
      times_s: (n,) increasing times of the poses, seconds.
      has_translation: False if the poses share one camera center: translations are then taken as 0.
      dynamic_ratios: (n,) share of dynamic pixels in each frame, 0 to 1, or None.

    Raises:
      ValueError: for wrong shapes, times that do not increase, ratios outside 0 to 1.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = validate_poses(cam_from_world)
    times = validate_times(times_s, len(poses))
    centers = camera_centers(poses)
    if not has_translation:
        centers = np.zeros_like(centers)
    missing: dict[str, str] = {}
    values = _measure(poses, centers, times, missing)
    return TrajectoryMetrics(
        **values,
        dist_level=distance_level(values["move_dist"]),
        dynamic_ratio=_mean_dynamic_ratio(dynamic_ratios, len(poses), missing),
        translation_jerk=_translation_jerk(centers, times, has_translation, missing),
        rotation_jerk=_rotation_jerk(poses, times, missing),
        missing=missing,
    )


def distance_level(move_dist: float | None) -> int | None:
    """SpatialVID's level of a trajectory length, 0 to 4."""
    return None if move_dist is None else sum(move_dist >= level for level in DIST_LEVELS)


def find_peaks(values: Float64Array, positions: Float64Array, height: float, distance: float) -> npt.NDArray[np.intp]:
    """Indices of local maxima of at least `height` and at least `distance` apart.

    Higher ones have priority.

    A plateau is one peak at its middle; ends are no peaks. As scipy.signal.find_peaks with `height` and `distance`, for
    samples at any increasing `positions`.
    """
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    ends = np.append(starts[1:], len(values)) - 1
    levels = values[starts]
    inner = np.flatnonzero((levels[1:-1] > levels[:-2]) & (levels[1:-1] > levels[2:])) + 1
    peaks = (starts[inner] + ends[inner]) // 2
    peaks = peaks[values[peaks] >= height]
    keep = np.ones(len(peaks), dtype=bool)
    for index in np.argsort(values[peaks], kind="stable")[::-1]:
        if keep[index]:
            keep &= np.abs(positions[peaks] - positions[peaks[index]]) >= distance
            keep[index] = True
    return peaks[keep]


def _mean_dynamic_ratio(dynamic_ratios: npt.ArrayLike | None, num_poses: int, missing: dict[str, str]) -> float | None:
    if dynamic_ratios is None:
        missing["dynamic_ratio"] = NO_MASKS
        return None
    ratios = np.asarray(dynamic_ratios, dtype=np.float64)
    if ratios.shape != (num_poses,) or not ((ratios >= 0) & (ratios <= 1)).all():
        raise ValueError(f"dynamic_ratios must be {num_poses} values from 0 to 1, got {ratios!r}")
    return float(ratios.mean())


def _measure(
    poses: Float64Array, centers: Float64Array, times: Float64Array, missing: dict[str, str]
) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(("move_dist", "rot_angle", "traj_turns", "anomaly"))
    if len(poses) < 2:
        missing |= dict.fromkeys(("move_dist", "dist_level", "rot_angle"), ONE_POSE)
    else:
        values["move_dist"] = float(_lengths(np.diff(centers, axis=0)).sum())
        values["rot_angle"] = float(_lengths(rotation_vectors(relative_rotations(poses))).sum())
    if len(poses) < 3:
        missing["traj_turns"] = f"turns need 3 poses, there are {len(poses)}"
    else:
        values["traj_turns"] = _count_turns(centers, times)
    if len(poses) < 4:
        missing["anomaly"] = f"the check needs 4 poses, there are {len(poses)}"
    else:
        dt = np.diff(times)[:, None]
        speed = np.diff(centers, axis=0) / dt
        change = np.diff(speed, axis=0) / (0.5 * (dt[1:] + dt[:-1]))
        predicted = centers[2:-1] + dt[2:] * (speed[1:-1] + 0.5 * dt[2:] * change[:-1])
        # The error of a constant acceleration grows with the square of the step: allow more beyond 0.2 s.
        tolerance = np.maximum(dt[2:, 0] / STEP_S, 1.0) ** 2
        values["anomaly"] = is_anomalous(_lengths(predicted - centers[3:]) / tolerance)
    return values


def _count_turns(centers: Float64Array, times: Float64Array) -> int:
    """Turns of camera centers by SpatialVID's rule: peaks of the smoothed chord angle.

    Samples with a chord too short for a reliable direction are left out.
    """
    from_first, to_last = centers[1:-1] - centers[0], centers[-1] - centers[1:-1]
    extent = float(_lengths(centers - centers[0]).max())
    is_reliable = np.minimum(_lengths(from_first), _lengths(to_last)) > MIN_CHORD_SHARE * extent
    if extent < DIST_LEVELS[0] or not is_reliable.any():
        return 0
    angles = np.arctan2(_lengths(np.cross(from_first, to_last)), np.sum(from_first * to_last, axis=1))
    inner = times[1:-1]
    weights = exp(-0.5 * ((inner[:, None] - inner[is_reliable]) / TURN_SMOOTHING_S) ** 2)
    # A BLAS product would sum in an order that depends on the number of cores.
    curve = np.einsum("ij,j", weights, angles[is_reliable]) / np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    # A trajectory out and back has a constant angle: rounding noise must not make peaks.
    return count_peaks(np.round(curve, TURN_DECIMALS), inner, TURN_DISTANCE_S)


def count_peaks(curve: Float64Array, positions: Float64Array, distance: float) -> int:
    """Peaks of an angle curve above the least turn.

    Its maximum counts also at an end.
    """
    heights = curve[find_peaks(curve, positions, MIN_TURN_RAD, distance)]
    highest = curve.max()
    return len(heights) + int(highest > MIN_TURN_RAD and highest not in heights)


def is_anomalous(errors: npt.NDArray[np.floating]) -> bool:
    """Whether two prediction errors in a row are too large."""
    large = errors > MAX_PREDICTION_ERROR
    return bool((large[1:] & large[:-1]).any())


def _translation_jerk(
    centers: Float64Array, times: Float64Array, has_translation: bool, missing: dict[str, str]
) -> float | None:
    if not has_translation or len(centers) < 4:
        missing["translation_jerk"] = (
            f"a jerk needs 4 poses, there are {len(centers)}" if has_translation else STANDS_STILL
        )
        return None
    return _root_mean_square(6.0 * _divided_differences(centers, times, 3))


def _rotation_jerk(poses: Float64Array, times: Float64Array, missing: dict[str, str]) -> float | None:
    if len(poses) < 4:
        missing["rotation_jerk"] = f"a jerk needs 4 poses, there are {len(poses)}"
        return None
    # In world axes, differences of angular velocities do not depend on the orientation of the camera.
    in_camera = rotation_vectors(relative_rotations(poses)) / np.diff(times)[:, None]
    in_world = rotate(conjugate(poses[:-1, 3:]), in_camera)
    return _root_mean_square(2.0 * _divided_differences(in_world, 0.5 * (times[1:] + times[:-1]), 2))


def _divided_differences(values: Float64Array, times: Float64Array, order: int) -> Float64Array:
    for k in range(1, order + 1):
        values = np.diff(values, axis=0) / (times[k:] - times[:-k])[:, None]
    return values


def _root_mean_square(vectors: Float64Array) -> float:
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=1))))


def _lengths(vectors: Float64Array) -> Float64Array:
    return np.linalg.norm(vectors, axis=-1)
