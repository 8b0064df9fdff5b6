"""What the path of a clip's camera is like: how far, how much turned, how even; and whether poses look broken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.annotations import TrajectoryMetrics
from core.arrays import Float32Array, Float64Array
from models.geometry.camera_path import (
    camera_centers,
    conjugate,
    relative_rotations,
    rotate,
    rotation_vectors,
    validate_poses,
    validate_times,
)
from native.elementary import arccos, exp

# SpatialVID utils/evaluation.py. Lengths are in units in which the 98th percentile of inverse depth is 2.
DIST_LEVELS = (0.08, 0.28, 0.92, 2.41)
MAX_PREDICTION_ERROR = 0.03
MIN_TURN_RAD = 0.45
PEAK_DISTANCE = 5
SMOOTHING = 5
SMOOTHING_REACH = 20
MASK_STRIDE = 5
MIN_CHORD = 1e-8

# The same at 5 poses a second, in seconds. A chord much shorter than the path is wide has no sure direction.
STEP_S = 0.2
TURN_SMOOTHING_S = 1.0
TURN_DISTANCE_S = 1.0
MIN_CHORD_SHARE = 0.05
TURN_DECIMALS = 6

ONE_POSE = "one pose shows no motion"
NO_MASKS = "there are no dynamic masks"
STANDS_STILL = "the camera does not translate"


def unit_of(inverse_depth_p98: float) -> float:
    """Length of one unit, for `measure_trajectory`, in the poses' unit of length.

    Args:
      inverse_depth_p98: 98th percentile of the clip's inverse depth, in one over the poses' unit of length.

    Raises:
      ValueError: unless it is positive and finite.
    """
    if not (np.isfinite(inverse_depth_p98) and inverse_depth_p98 > 0):
        raise ValueError(f"the 98th percentile of inverse depth must be positive, got {inverse_depth_p98!r}")
    return 2.0 / inverse_depth_p98


def measure_trajectory(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    scale: float = 1.0,
    has_translation: bool = True,
    moving_share: npt.ArrayLike | None = None,
    parity: bool = False,
) -> TrajectoryMetrics:
    """Measures the path of a clip's camera.

    By default lengths are those of the camera centers, so nothing depends on the world frame, and time is
    that of `times_s`, so little depends on the rate of the poses (their noise adds up in `move_dist` and in
    the jerks at any rate). With `parity` the numbers are those of SpatialVID's utils/evaluation.py, which takes
    the translation column of cam_from_world for the position, counts poses instead of seconds, reckons in
    single precision and adds about 2 pi to `rot_angle` wherever a quaternion changes sign.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1.
      times_s: (n,) increasing times of the poses, seconds.
      scale: length of one unit in the poses' unit (`unit_of`); 1 for poses that are in units already.
      has_translation: false when the poses are known to share one center; their translations are then not looked
        at: the path has length 0. Without effect on `parity`.
      moving_share: (n,) share of moving pixels of each frame, 0 to 1, or None.
      parity: whether to give SpatialVID's numbers. Jerks are the same in both modes.

    Raises:
      ValueError: for wrong shapes, times that do not increase, a scale that is not positive, shares off 0 to 1.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = validate_poses(cam_from_world)
    times = validate_times(times_s, len(poses))
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    centers = camera_centers(poses) / scale
    if not has_translation:
        centers = np.zeros_like(centers)
    shares = _check_shares(moving_share, len(poses))
    missing: dict[str, str] = {}
    if parity:
        values = _measure_reference(np.asarray(cam_from_world, dtype=np.float64), scale, missing)
    else:
        values = _measure(poses, centers, times, missing)
    dist = values["move_dist"]
    return TrajectoryMetrics(
        move_dist=dist,
        dist_level=None if dist is None else sum(dist >= level for level in DIST_LEVELS),
        rot_angle=values["rot_angle"],
        traj_turns=None if values["traj_turns"] is None else int(values["traj_turns"]),
        dynamic_ratio=_dynamic_ratio(shares, parity, missing),
        anomaly=None if values["anomaly"] is None else bool(values["anomaly"]),
        translation_jerk=_translation_jerk(centers, times, has_translation, missing),
        rotation_jerk=_rotation_jerk(poses, times, missing),
        missing=missing,
    )


def find_peaks(values: Float64Array, positions: Float64Array, height: float, distance: float) -> npt.NDArray[np.intp]:
    """Indices of the local maxima of at least `height`, the higher ones first to keep others `distance` away.

    A plateau counts as one peak at its middle; ends are no peaks. The rule of scipy.signal.find_peaks with
    `height` and `distance`, for samples at any increasing `positions`.
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


def _check_shares(moving_share: npt.ArrayLike | None, num_poses: int) -> Float64Array | None:
    if moving_share is None:
        return None
    shares = np.asarray(moving_share, dtype=np.float64)
    if shares.shape != (num_poses,) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"moving_share must be {num_poses} values from 0 to 1, got {shares!r}")
    return shares


def _dynamic_ratio(shares: Float64Array | None, parity: bool, missing: dict[str, str]) -> float | None:
    if shares is None:
        missing["dynamic_ratio"] = NO_MASKS
        return None
    return float(np.float32(shares[::MASK_STRIDE].mean())) if parity else float(shares.mean())


def _measure(
    poses: Float64Array, centers: Float64Array, times: Float64Array, missing: dict[str, str]
) -> dict[str, float | None]:
    values: dict[str, float | None] = dict.fromkeys(("move_dist", "rot_angle", "traj_turns", "anomaly"))
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
        # An even acceleration is off by its square of time: steps wider than 0.2 s may be off by more.
        slack = np.maximum(dt[2:, 0] / STEP_S, 1.0) ** 2
        values["anomaly"] = _is_anomalous(_lengths(predicted - centers[3:]) / slack)
    return values


def _count_turns(centers: Float64Array, times: Float64Array) -> int:
    """Turns by SpatialVID's rule on centers, smoothed over seconds, without the samples that are too near an end.

    The curve is the angle between the way from the first center and the way to the last one.
    """
    come, go = centers[1:-1] - centers[0], centers[-1] - centers[1:-1]
    extent = float(_lengths(centers - centers[0]).max())
    sure = np.minimum(_lengths(come), _lengths(go)) > MIN_CHORD_SHARE * extent
    if extent < DIST_LEVELS[0] or not sure.any():
        return 0
    angles = np.arctan2(_lengths(np.cross(come, go)), np.sum(come * go, axis=1))
    inner = times[1:-1]
    weights = exp(-0.5 * ((inner[:, None] - inner[sure]) / TURN_SMOOTHING_S) ** 2)
    # A matrix product would add in another order on a machine with more cores.
    curve = np.einsum("ij,j", weights, angles[sure]) / np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    # A path out and back has one constant angle: rounding noise must not make peaks of it.
    return _count_peaks(np.round(curve, TURN_DECIMALS), inner, TURN_DISTANCE_S)


def _count_peaks(curve: Float64Array, positions: Float64Array, distance: float) -> int:
    heights = curve[find_peaks(curve, positions, MIN_TURN_RAD, distance)]
    highest = curve.max()
    return len(heights) + int(highest > MIN_TURN_RAD and highest not in heights)


def _is_anomalous(errors: npt.NDArray[np.floating]) -> bool:
    large = errors > MAX_PREDICTION_ERROR
    return bool((large[1:] & large[:-1]).any())


def _measure_reference(cam_from_world: Float64Array, scale: float, missing: dict[str, str]) -> dict[str, float | None]:
    """The four metrics of SpatialVID's utils/evaluation.py, in its single precision and order of summation."""
    positions = (cam_from_world[:, :3] / scale).astype(np.float32)
    quaternions = cam_from_world[:, 3:].astype(np.float32)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    cosines = np.clip(np.sum(quaternions[1:] * quaternions[:-1], axis=1), -1.0, 1.0)
    angles = np.float32(2.0) * arccos(cosines).astype(np.float32)
    anomaly = True
    if len(positions) >= 4:
        ahead = np.diff(positions, axis=0)
        bend = ahead[1:-1] - ahead[:-2]
        predicted = positions[2:-1] + ahead[1:-1] + np.float32(0.5) * bend
        anomaly = _is_anomalous(np.linalg.norm(predicted - positions[3:], axis=1))
    return {
        "move_dist": _running_sum(steps),
        "rot_angle": _running_sum(angles),
        "traj_turns": _count_turns_reference(positions, missing),
        "anomaly": anomaly,
    }


def _running_sum(values: Float32Array) -> float:
    return float(np.cumsum(values, dtype=np.float32)[-1]) if len(values) else 0.0


def _count_turns_reference(positions: Float32Array, missing: dict[str, str]) -> int | None:
    if len(positions) < 3:
        missing["traj_turns"] = f"turns need 3 poses, there are {len(positions)}"
        return None
    come, go = positions[1:-1] - positions[0], positions[-1] - positions[1:-1]
    norms = np.linalg.norm(come, axis=1), np.linalg.norm(go, axis=1)
    far = (norms[0] >= MIN_CHORD) & (norms[1] >= MIN_CHORD)
    if not far.any():
        missing["traj_turns"] = STANDS_STILL
        return None
    cosines = np.sum(come[far] * go[far], axis=1) / (norms[0][far] * norms[1][far])
    angles = arccos(np.clip(cosines, -1.0, 1.0)).astype(np.float32).astype(np.float64)
    offsets = np.arange(-SMOOTHING_REACH, SMOOTHING_REACH + 1)
    kernel = exp(-0.5 * (offsets / SMOOTHING) ** 2)
    padded = np.pad(angles, SMOOTHING_REACH, mode="symmetric")
    curve = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return _count_peaks(curve, np.arange(len(curve), dtype=np.float64), PEAK_DISTANCE)


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
    # Angular velocities in world axes: their differences do not depend on which way the camera looks.
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
