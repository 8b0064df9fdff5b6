from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import ItemError
from core.serialization import from_json_text, to_json_text
from models.geometry import trajectory_reference
from models.geometry.trajectory import TrajectoryMetrics, find_peaks, measure_trajectory
from tests.support.camera_paths import fly, move_world, poses_from, product, quaternion, steady, wander

IDENTITY = (0.0, 0.0, 0.0, 1.0)


def times(count, rate=5.0):
    return np.arange(count) / rate


def along(centers, rate=5.0, **options):
    centers = np.asarray(centers, dtype=np.float64)
    poses = poses_from(centers, np.tile(IDENTITY, (len(centers), 1)))
    return measure_trajectory(poses, times_s=times(len(centers), rate), **options)


# Made with scipy.signal.find_peaks 1.15.2, height 3: indices at distance 1 (with plateaus), and at
# distance 5 on a slight ramp (so that no two heights are equal).
SCIPY_PEAKS = {
    3: ([2, 5, 9, 14, 18, 20, 25, 28, 32, 37, 41, 43], [5, 18, 28, 41]),
    5: ([3, 8, 10, 13, 15, 20, 26, 31, 33, 36, 38, 43], [3, 8, 13, 20, 26, 31, 36, 43]),
    7: ([2, 6, 9, 11, 14, 17, 21, 25, 29, 32, 34, 37, 40, 44], [6, 12, 17, 29, 35, 40]),
}


@pytest.mark.parametrize("factor", SCIPY_PEAKS)
def test_peaks_are_those_of_scipy(factor):
    at = np.arange(48, dtype=np.float64)
    values = np.floor((np.arange(48) * factor) ** 2 % 23 / 3.0)
    near, far = SCIPY_PEAKS[factor]
    assert find_peaks(values, at, 3.0, 1.0).tolist() == near
    assert find_peaks(values + at * 1e-3, at, 3.0, 5.0).tolist() == far


@given(st.integers(0, 50), st.integers(4, 40), st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-9, 9)] * 3))
@settings(max_examples=40, deadline=None)
def test_metrics_are_invariant_to_world_frame_and_quaternion_signs(seed, count, turn, shift):
    poses = wander(count, seed).astype(np.float64)
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    turn = np.add(turn, (0, 0, 1.5))
    moved = move_world(poses, quaternion(turn, np.linalg.norm(turn)), np.asarray(shift))
    moved[seed % count :, 3:] *= -1
    first, second = (measure_trajectory(p, times_s=times(count)) for p in (poses, moved))
    for name in TrajectoryMetrics.__slots__:
        a, b = getattr(first, name), getattr(second, name)
        assert a == (pytest.approx(b, rel=1e-6, abs=1e-7) if isinstance(b, float) else b), name


def test_straight_line():
    metrics = along([(0, 0, 0.1 * k) for k in range(11)])
    assert metrics.move_dist == pytest.approx(1.0)
    assert (metrics.dist_level, metrics.traj_turns, metrics.anomaly) == (3, 0, False)
    assert metrics.rot_angle == pytest.approx(0.0, abs=1e-9)
    assert metrics.translation_jerk == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("dist, level", [(0.079, 0), (0.081, 1), (0.279, 1), (0.281, 2), (0.93, 3), (2.42, 4)])
def test_distance_levels(dist, level):
    assert along([(0, 0, 0), (dist, 0, 0)]).dist_level == level


def test_pan_far_from_the_origin_has_no_length():
    at, poses = steady(turn_deg_s=(0, 20, 0), start=(5, 1, -3))
    own = measure_trajectory(poses, times_s=at)
    reference = trajectory_reference.measure_trajectory(poses, times_s=at)
    assert own.move_dist == pytest.approx(0.0, abs=1e-9) and reference.move_dist > 2.0
    assert own.rot_angle == pytest.approx(np.radians(80)) and reference.rot_angle == pytest.approx(np.radians(80), 1e-3)
    assert (own.traj_turns, own.anomaly) == (0, False)


def corner(rate):
    leg = np.arange(round(3 * rate)) / rate
    return np.concatenate([[(0, 0, z) for z in leg], [(x, 0, 3.0) for x in (*leg, 3.0)]])


@pytest.mark.parametrize("rate", [2.0, 5.0, 30.0])
def test_turns_at_any_rate(rate):
    assert along(corner(rate), rate).traj_turns == 1
    assert along([(0, 0, k / rate) for k in range(round(6 * rate))], rate).traj_turns == 0
    out = np.arange(round(3 * rate) + 1) / rate
    assert along([(0, 0, z) for z in (*out, *out[-2::-1])], rate).traj_turns == 1


def test_jitter_has_no_turns():
    jitter = 0.001 * np.sin(np.arange(300).reshape(100, 3) ** 2)
    metrics = along(jitter)
    assert (metrics.traj_turns, metrics.anomaly) == (0, False)


def test_pose_jump_is_an_anomaly_and_constant_acceleration_is_not():
    centers = np.array([(0, 0, 0.03 * k) for k in range(20)])
    assert along(centers).anomaly is False
    centers[10:, 0] += 0.1
    assert along(centers).anomaly is True
    assert along(centers / 10).anomaly is False
    assert along([(0, 0, 0.02 * k * k) for k in range(20)]).anomaly is False


def test_single_prediction_error_is_no_anomaly():
    centers = np.array([(0, 0, 0.03 * k) for k in range(20)])
    centers[-1, 0] += 0.5
    assert along(centers).anomaly is False


def test_tolerance_grows_with_the_step():
    centers = [(0, 0, 0.6 * (k / 2) ** 2) for k in range(20)]
    assert along(centers, rate=2.0).anomaly is False
    assert along(centers, rate=5.0).anomaly is True


def test_constant_speed_at_uneven_times_is_no_anomaly():
    at = np.array([0.0, 0.2, 0.4, 1.2, 1.4, 1.6, 2.6, 2.8, 3.0])
    poses = poses_from(np.outer(at, (0.0, 0.0, 1.0)), np.tile(IDENTITY, (9, 1)))
    assert measure_trajectory(poses, times_s=at).anomaly is False
    assert measure_trajectory(poses, times_s=times(9)).anomaly is True


@pytest.mark.parametrize("rate", [5.0, 30.0])
def test_jerk_of_cubic_motion(rate):
    t = times(40, rate)
    assert along(np.outer(t**3, (0, 0.6, 0.8)), rate).translation_jerk == pytest.approx(6.0, rel=1e-6)
    assert along(np.outer(t**2, (0, 0.6, 0.8)), rate).translation_jerk == pytest.approx(0.0, abs=1e-6)


def test_rotation_jerk_is_in_world_axes():
    # A pan of a t about the world's y and a tilt of b t about the panned x: the angular velocity is
    # a y + b (x turned by a t), whose second derivative is a^2 b long; in the camera's axes it would be a b^2.
    t = times(61, 30.0)
    attitudes = [product(quaternion((0, 1, 0), 0.5 * x), quaternion((1, 0, 0), 0.2 * x)) for x in t]
    metrics = measure_trajectory(poses_from(np.zeros((61, 3)), attitudes), times_s=t)
    assert metrics.rotation_jerk == pytest.approx(0.05, rel=1e-3)


def test_jerk_of_rotation():
    t = times(31, 30.0)
    # An angle of 10 t^3 degrees has a second derivative of angular velocity of 60 degrees per second cubed.
    cubic = [quaternion((0.6, 0.8, 0), np.radians(10 * x**3)) for x in t]
    square = [quaternion((0.6, 0.8, 0), np.radians(10 * x**2)) for x in t]
    for attitudes, expected in ((cubic, np.radians(60)), (square, 0.0)):
        metrics = measure_trajectory(poses_from(np.zeros((31, 3)), attitudes), times_s=t)
        assert metrics.rotation_jerk == pytest.approx(expected, abs=1e-6)


def test_without_translation():
    at = times(30)
    metrics = measure_trajectory(wander(30, 3), times_s=at, has_translation=False)
    assert (metrics.move_dist, metrics.dist_level, metrics.traj_turns, metrics.anomaly) == (0.0, 0, 0, False)
    assert metrics.translation_jerk is None and "translate" in metrics.missing["translation_jerk"]
    assert metrics.rot_angle == measure_trajectory(wander(30, 3), times_s=at).rot_angle > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_undefined_metrics_are_missing_with_a_reason(count):
    metrics = measure_trajectory(wander(count, 5), times_s=times(count))
    needs = {"move_dist": 2, "dist_level": 2, "rot_angle": 2, "traj_turns": 3, "anomaly": 4}
    needs |= {"translation_jerk": 4, "rotation_jerk": 4, "dynamic_ratio": 99}
    for name, least in needs.items():
        assert (getattr(metrics, name) is None) == (count < least) == (name in metrics.missing), name


def test_equal_poses_have_no_motion():
    metrics = measure_trajectory(np.repeat(wander(1, 6), 20, axis=0), times_s=times(20))
    assert (metrics.move_dist, metrics.dist_level, metrics.traj_turns, metrics.anomaly) == (0.0, 0, 0, False)
    assert metrics.rot_angle == pytest.approx(0.0, abs=1e-6)
    assert (metrics.translation_jerk, metrics.rotation_jerk) == (pytest.approx(0.0), pytest.approx(0.0, abs=1e-4))


def test_metrics_travel_as_json():
    metrics = measure_trajectory(wander(9, 1), times_s=times(9))
    assert from_json_text(TrajectoryMetrics, to_json_text(metrics)) == metrics


@pytest.mark.parametrize("measure", [measure_trajectory, trajectory_reference.measure_trajectory])
def test_invalid_poses_raise(measure):
    poses = wander(6, 1)
    for column, value in ((0, np.nan), (4, np.inf), (6, 3.0)):
        broken = poses.copy()
        broken[2, column] = value
        with pytest.raises(ItemError) as caught:
            measure(broken, times_s=times(6))
        assert caught.value.error_class == "BadPoses" and caught.value.remedy


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cam_from_world": np.zeros((4, 6))}, "shape"),
        ({"cam_from_world": np.zeros((0, 7))}, "shape"),
        ({"times_s": [0, 1, 2, 3]}, "one value for each"),
        ({"times_s": [0, 1, 2, 2, 3]}, "increase"),
        ({"dynamic_ratios": [0, 0, 0, 0, 1.5]}, "0 to 1"),
        ({"dynamic_ratios": [0, 0, 0, 0, np.nan]}, "0 to 1"),
    ],
)
def test_invalid_arguments_raise(change, message):
    arguments = {"cam_from_world": wander(5, 1), "times_s": times(5)} | change
    with pytest.raises(ValueError, match=message):
        measure_trajectory(arguments.pop("cam_from_world"), **arguments)


def test_length_of_a_curve():
    at = times(26)
    poses = fly(at, lambda t: (0, 0, 0.5), lambda t: (0, 30 * np.sin(t), 0))
    assert measure_trajectory(poses, times_s=at).move_dist == pytest.approx(2.5, rel=0.01)
