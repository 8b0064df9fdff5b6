from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.failures import ItemError
from core.serialization import from_json_text, to_json_text
from models.geometry.trajectory import TrajectoryMetrics, find_peaks, measure_trajectory, unit_of
from tests.support.camera_paths import fly, move_world, poses_from, product, quaternion, steady, wander

IDENTITY = (0.0, 0.0, 0.0, 1.0)

# (poses, seed, speed of the path): move_dist, dist_level, rot_angle, traj_turns, anomaly. Made with the functions of
# SpatialVID's utils/evaluation.py (revision 5228326b; torch 2.13 on a CPU, scipy 1.15.2) on the float32 poses.
REFERENCE = {
    (2, 10, 0.2): (0.022081366, 0, 0.030874204, None, True),
    (3, 21, 1.0): (0.636328101, 2, 0.102664486, 0, True),
    (5, 33, 3.0): (2.747514963, 4, 0.214610994, 1, True),
    (13, 15, 0.2): (0.492389053, 2, 0.250679165, 1, False),
    (24, 26, 1.0): (3.906954050, 4, 0.510883152, 1, True),
    (75, 8, 0.02): (0.295937121, 2, 2.123509884, 2, False),
    (75, 18, 0.2): (1.779052258, 3, 1.996981978, 2, False),
    (40, 141, 1.0): (7.204895496, 4, 1.342124462, 2, True),
    (90, 38, 1.0): (15.348349571, 4, 2.542257309, 4, True),
    (90, 121, 1.0): (17.326490402, 4, 2.420102119, 3, True),
    (90, 138, 1.0): (11.895213127, 4, 2.410542250, 2, False),
    (75, 38, 3.0): (37.060001373, 4, 2.088769436, 3, True),
    (90, 19, 0.2): (3.001446485, 4, 2.603410244, 3, False),
    (90, 59, 0.2): (3.129721403, 4, 2.620334625, 4, False),
}


def times(count, rate=5.0):
    return np.arange(count) / rate


def along(centers, rate=5.0, **options):
    centers = np.asarray(centers, dtype=np.float64)
    poses = poses_from(centers, np.tile(IDENTITY, (len(centers), 1)))
    return measure_trajectory(poses, times_s=times(len(centers), rate), **options)


@pytest.mark.parametrize("path", REFERENCE)
def test_parity_gives_the_reference_numbers(path):
    move_dist, dist_level, rot_angle, traj_turns, anomaly = REFERENCE[path]
    facts = measure_trajectory(wander(*path), times_s=times(path[0]), parity=True)
    assert facts.move_dist == pytest.approx(move_dist, rel=2e-6)
    assert facts.rot_angle == pytest.approx(rot_angle, rel=1e-4)
    assert (facts.dist_level, facts.traj_turns, facts.anomaly) == (dist_level, traj_turns, anomaly)


def test_parity_adds_a_turn_where_the_quaternion_changes_sign():
    poses = wander(40, 7)
    plain = measure_trajectory(poses, times_s=times(40), parity=True)
    poses[20:, 3:] *= -1
    flipped = measure_trajectory(poses, times_s=times(40), parity=True)
    assert flipped.rot_angle == pytest.approx(7.5286508, rel=1e-5)  # Made as REFERENCE.
    assert plain.rot_angle < 2.0


def test_parity_takes_every_fifth_mask():
    shares = np.zeros(12)
    shares[[0, 5, 10]] = 0.25, 0.5, 0.75
    reference = measure_trajectory(wander(12, 1), times_s=times(12), moving_share=shares, parity=True)
    own = measure_trajectory(wander(12, 1), times_s=times(12), moving_share=shares)
    assert (reference.dynamic_ratio, own.dynamic_ratio) == (0.5, 0.125)


def test_parity_calls_few_poses_anomalous_and_says_why_there_are_no_turns():
    facts = measure_trajectory(wander(1, 2), times_s=[0.0], parity=True)
    assert (facts.move_dist, facts.dist_level, facts.rot_angle, facts.anomaly) == (0.0, 0, 0.0, True)
    assert facts.traj_turns is None and "3 poses" in facts.missing["traj_turns"]
    still = measure_trajectory(np.repeat(wander(1, 2), 9, axis=0), times_s=times(9), parity=True)
    assert still.traj_turns is None and "translate" in still.missing["traj_turns"]


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
def test_the_world_frame_and_the_signs_of_quaternions_do_not_matter(seed, count, turn, shift):
    poses = wander(count, seed).astype(np.float64)
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    turn = np.add(turn, (0, 0, 1.5))
    moved = move_world(poses, quaternion(turn, np.linalg.norm(turn)), np.asarray(shift))
    moved[seed % count :, 3:] *= -1
    first, second = (measure_trajectory(p, times_s=times(count)) for p in (poses, moved))
    for name in TrajectoryMetrics.__slots__:
        a, b = getattr(first, name), getattr(second, name)
        assert a == (pytest.approx(b, rel=1e-6, abs=1e-7) if isinstance(b, float) else b), name


@given(st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_lengths_are_in_units_of_the_scale(scale):
    poses = wander(30, 4).astype(np.float64)
    scaled = poses.copy()
    scaled[:, :3] *= scale
    first = measure_trajectory(poses, times_s=times(30))
    second = measure_trajectory(scaled, times_s=times(30), scale=scale)
    assert second.move_dist == pytest.approx(first.move_dist)
    assert second.translation_jerk == pytest.approx(first.translation_jerk)
    assert (second.dist_level, second.traj_turns) == (first.dist_level, first.traj_turns)


def test_the_unit_puts_the_98th_percentile_of_inverse_depth_at_two():
    assert unit_of(0.5) == 4.0
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="98th percentile"):
            unit_of(bad)


def test_a_straight_even_path():
    facts = along([(0, 0, 0.1 * k) for k in range(11)])
    assert facts.move_dist == pytest.approx(1.0)
    assert (facts.dist_level, facts.traj_turns, facts.anomaly) == (3, 0, False)
    assert facts.rot_angle == pytest.approx(0.0, abs=1e-9)
    assert facts.translation_jerk == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("dist, level", [(0.079, 0), (0.081, 1), (0.279, 1), (0.281, 2), (0.93, 3), (2.42, 4)])
def test_distance_levels(dist, level):
    assert along([(0, 0, 0), (dist, 0, 0)]).dist_level == level


def test_a_pan_far_from_the_origin_is_no_travel():
    at, poses = steady(turn_deg_s=(0, 20, 0), start=(5, 1, -3))
    own = measure_trajectory(poses, times_s=at)
    reference = measure_trajectory(poses, times_s=at, parity=True)
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


def test_a_trembling_camera_has_no_turns():
    tremble = 0.001 * np.sin(np.arange(300).reshape(100, 3) ** 2)
    facts = along(tremble)
    assert (facts.traj_turns, facts.anomaly) == (0, False)


def test_a_jump_of_the_poses_is_an_anomaly_and_an_even_acceleration_none():
    centers = np.array([(0, 0, 0.03 * k) for k in range(20)])
    assert along(centers).anomaly is False
    centers[10:, 0] += 0.1
    assert along(centers).anomaly is True
    assert along(centers, scale=10.0).anomaly is False
    assert along([(0, 0, 0.02 * k * k) for k in range(20)]).anomaly is False


def test_one_pose_off_its_prediction_is_no_anomaly():
    centers = np.array([(0, 0, 0.03 * k) for k in range(20)])
    centers[-1, 0] += 0.5
    assert along(centers).anomaly is False


def test_wide_steps_may_be_further_off():
    centers = [(0, 0, 0.6 * (k / 2) ** 2) for k in range(20)]
    assert along(centers, rate=2.0).anomaly is False
    assert along(centers, rate=5.0).anomaly is True


def test_uneven_times_do_not_make_an_even_path_anomalous():
    at = np.array([0.0, 0.2, 0.4, 1.2, 1.4, 1.6, 2.6, 2.8, 3.0])
    poses = poses_from(np.outer(at, (0.0, 0.0, 1.0)), np.tile(IDENTITY, (9, 1)))
    assert measure_trajectory(poses, times_s=at).anomaly is False
    assert measure_trajectory(poses, times_s=times(9)).anomaly is True


@pytest.mark.parametrize("rate", [5.0, 30.0])
def test_jerk_of_cubic_motion(rate):
    t = times(40, rate)
    assert along(np.outer(t**3, (0, 0.6, 0.8)), rate).translation_jerk == pytest.approx(6.0, rel=1e-6)
    assert along(np.outer(t**2, (0, 0.6, 0.8)), rate).translation_jerk == pytest.approx(0.0, abs=1e-6)


def test_jerk_of_rotation_is_that_in_the_world():
    # A pan of a t about the world's y and a tilt of b t about the panned x: the angular velocity is
    # a y + b (x turned by a t), whose second derivative is a^2 b long; in the camera's axes it would be a b^2.
    t = times(61, 30.0)
    attitudes = [product(quaternion((0, 1, 0), 0.5 * x), quaternion((1, 0, 0), 0.2 * x)) for x in t]
    facts = measure_trajectory(poses_from(np.zeros((61, 3)), attitudes), times_s=t)
    assert facts.rotation_jerk == pytest.approx(0.05, rel=1e-3)


def test_jerk_of_rotation():
    t = times(31, 30.0)
    # An angle of 10 t^3 degrees has a second derivative of angular velocity of 60 degrees per second cubed.
    cubic = [quaternion((0.6, 0.8, 0), np.radians(10 * x**3)) for x in t]
    square = [quaternion((0.6, 0.8, 0), np.radians(10 * x**2)) for x in t]
    for attitudes, expected in ((cubic, np.radians(60)), (square, 0.0)):
        facts = measure_trajectory(poses_from(np.zeros((31, 3)), attitudes), times_s=t)
        assert facts.rotation_jerk == pytest.approx(expected, abs=1e-6)


def test_told_that_there_is_no_translation():
    at = times(30)
    facts = measure_trajectory(wander(30, 3), times_s=at, has_translation=False)
    assert (facts.move_dist, facts.dist_level, facts.traj_turns, facts.anomaly) == (0.0, 0, 0, False)
    assert facts.translation_jerk is None and "translate" in facts.missing["translation_jerk"]
    assert facts.rot_angle == measure_trajectory(wander(30, 3), times_s=at).rot_angle > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_what_has_no_meaning_is_missing_with_a_reason(count):
    facts = measure_trajectory(wander(count, 5), times_s=times(count))
    needs = {"move_dist": 2, "dist_level": 2, "rot_angle": 2, "traj_turns": 3, "anomaly": 4}
    needs |= {"translation_jerk": 4, "rotation_jerk": 4, "dynamic_ratio": 99}
    for name, least in needs.items():
        assert (getattr(facts, name) is None) == (count < least) == (name in facts.missing), name


def test_equal_poses_are_still():
    facts = measure_trajectory(np.repeat(wander(1, 6), 20, axis=0), times_s=times(20))
    assert (facts.move_dist, facts.dist_level, facts.traj_turns, facts.anomaly) == (0.0, 0, 0, False)
    assert facts.rot_angle == pytest.approx(0.0, abs=1e-6)
    assert (facts.translation_jerk, facts.rotation_jerk) == (pytest.approx(0.0), pytest.approx(0.0, abs=1e-4))


def test_facts_travel_as_json():
    facts = measure_trajectory(wander(9, 1), times_s=times(9))
    assert from_json_text(TrajectoryMetrics, to_json_text(facts)) == facts


@pytest.mark.parametrize("parity", [False, True])
def test_broken_poses_are_refused(parity):
    poses = wander(6, 1)
    for column, value in ((0, np.nan), (4, np.inf), (6, 3.0)):
        broken = poses.copy()
        broken[2, column] = value
        with pytest.raises(ItemError) as caught:
            measure_trajectory(broken, times_s=times(6), parity=parity)
        assert caught.value.error_class == "BadPoses" and caught.value.remedy


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cam_from_world": np.zeros((4, 6))}, "shape"),
        ({"cam_from_world": np.zeros((0, 7))}, "shape"),
        ({"times_s": [0, 1, 2, 3]}, "one value for each"),
        ({"times_s": [0, 1, 2, 2, 3]}, "increase"),
        ({"scale": 0.0}, "scale"),
        ({"moving_share": [0, 0, 0, 0, 1.5]}, "0 to 1"),
        ({"moving_share": [0, 0, 0, 0, np.nan]}, "0 to 1"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    arguments = {"cam_from_world": wander(5, 1), "times_s": times(5)} | change
    with pytest.raises(ValueError, match=message):
        measure_trajectory(arguments.pop("cam_from_world"), **arguments)


def test_a_curve_flown_by_speeds_is_as_long_as_it_is():
    at = times(26)
    poses = fly(at, lambda t: (0, 0, 0.5), lambda t: (0, 30 * np.sin(t), 0))
    assert measure_trajectory(poses, times_s=at).move_dist == pytest.approx(2.5, rel=0.01)
