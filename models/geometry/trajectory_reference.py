"""Trajectory metrics as SpatialVID's utils/evaluation.py computes them, errors included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from core.annotations import TrajectoryMetrics
from core.arrays import Float32Array, Float64Array
from models.geometry import trajectory
from models.geometry.trajectory import STANDS_STILL, count_peaks, distance_level, is_anomalous
from native.elementary import arccos, exp

PEAK_DISTANCE = 5
SMOOTHING = 5
SMOOTHING_REACH = 20
MASK_STRIDE = 5
MIN_CHORD = 1e-8


def measure_trajectory(
    cam_from_world: npt.ArrayLike,
    *,
    times_s: npt.ArrayLike,
    has_translation: bool = True,
    dynamic_ratios: npt.ArrayLike | None = None,
) -> TrajectoryMetrics:
    """Trajectory metrics by SpatialVID's rules; the jerks are our own. Arguments as in `trajectory`.

    SpatialVID takes the translation column of cam_from_world for the position, counts poses instead of seconds, sums in
    single precision, averages every fifth mask, and adds about 2 pi to `rot_angle` wherever a quaternion changes sign.
    """
    own = trajectory.measure_trajectory(
        cam_from_world, times_s=times_s, has_translation=has_translation, dynamic_ratios=dynamic_ratios
    )
    missing: dict[str, str] = {}
    values = _measure(np.asarray(cam_from_world, dtype=np.float64), missing)
    if dynamic_ratios is not None:
        ratios = np.asarray(dynamic_ratios, dtype=np.float64)
        values["dynamic_ratio"] = float(np.float32(ratios[::MASK_STRIDE].mean()))
    kept = ("dynamic_ratio", "translation_jerk", "rotation_jerk")
    missing |= {name: own.missing[name] for name in kept if name in own.missing}
    return replace(own, **values, dist_level=distance_level(values["move_dist"]), missing=missing)


def _measure(cam_from_world: Float64Array, missing: dict[str, str]) -> dict[str, Any]:
    positions = cam_from_world[:, :3].astype(np.float32)
    quaternions = cam_from_world[:, 3:].astype(np.float32)
    lengths = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    cosines = np.clip(np.sum(quaternions[1:] * quaternions[:-1], axis=1), -1.0, 1.0)
    angles = np.float32(2.0) * arccos(cosines).astype(np.float32)
    anomaly = True
    if len(positions) >= 4:
        step = np.diff(positions, axis=0)
        change = step[1:-1] - step[:-2]
        predicted = positions[2:-1] + step[1:-1] + np.float32(0.5) * change
        anomaly = is_anomalous(np.linalg.norm(predicted - positions[3:], axis=1))
    return {
        "move_dist": _running_sum(lengths),
        "rot_angle": _running_sum(angles),
        "traj_turns": _count_turns(positions, missing),
        "anomaly": anomaly,
    }


def _running_sum(values: Float32Array) -> float:
    return float(np.cumsum(values, dtype=np.float32)[-1]) if len(values) else 0.0


def _count_turns(positions: Float32Array, missing: dict[str, str]) -> int | None:
    if len(positions) < 3:
        missing["traj_turns"] = f"turns need 3 poses, there are {len(positions)}"
        return None
    from_first, to_last = positions[1:-1] - positions[0], positions[-1] - positions[1:-1]
    norms = np.linalg.norm(from_first, axis=1), np.linalg.norm(to_last, axis=1)
    is_long = (norms[0] >= MIN_CHORD) & (norms[1] >= MIN_CHORD)
    if not is_long.any():
        missing["traj_turns"] = STANDS_STILL
        return None
    cosines = np.sum(from_first[is_long] * to_last[is_long], axis=1) / (norms[0][is_long] * norms[1][is_long])
    angles = arccos(np.clip(cosines, -1.0, 1.0)).astype(np.float32).astype(np.float64)
    offsets = np.arange(-SMOOTHING_REACH, SMOOTHING_REACH + 1)
    kernel = exp(-0.5 * (offsets / SMOOTHING) ** 2)
    padded = np.pad(angles, SMOOTHING_REACH, mode="symmetric")
    curve = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return count_peaks(curve, np.arange(len(curve), dtype=np.float64), PEAK_DISTANCE)
