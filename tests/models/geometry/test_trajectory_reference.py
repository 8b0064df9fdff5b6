"""SpatialVID's trajectory metrics, against numbers of its own functions."""

from __future__ import annotations

import numpy as np
import pytest

from models.geometry import trajectory
from models.geometry.trajectory_reference import measure_trajectory
from tests.support.camera_paths import wander

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


def times(count):
    return np.arange(count) / 5.0


@pytest.mark.parametrize("path", REFERENCE)
def test_parity_gives_the_reference_numbers(path):
    move_dist, dist_level, rot_angle, traj_turns, anomaly = REFERENCE[path]
    metrics = measure_trajectory(wander(*path), times_s=times(path[0]))
    assert metrics.move_dist == pytest.approx(move_dist, rel=2e-6)
    assert metrics.rot_angle == pytest.approx(rot_angle, rel=1e-4)
    assert (metrics.dist_level, metrics.traj_turns, metrics.anomaly) == (dist_level, traj_turns, anomaly)


def test_parity_adds_a_turn_where_the_quaternion_changes_sign():
    poses = wander(40, 7)
    plain = measure_trajectory(poses, times_s=times(40))
    poses[20:, 3:] *= -1
    flipped = measure_trajectory(poses, times_s=times(40))
    assert flipped.rot_angle == pytest.approx(7.5286508, rel=1e-5)  # Made as REFERENCE.
    assert plain.rot_angle < 2.0


def test_parity_takes_every_fifth_mask():
    shares = np.zeros(12)
    shares[[0, 5, 10]] = 0.25, 0.5, 0.75
    reference = measure_trajectory(wander(12, 1), times_s=times(12), dynamic_ratios=shares)
    own = trajectory.measure_trajectory(wander(12, 1), times_s=times(12), dynamic_ratios=shares)
    assert (reference.dynamic_ratio, own.dynamic_ratio) == (0.5, 0.125)


def test_parity_calls_few_poses_anomalous_and_says_why_there_are_no_turns():
    metrics = measure_trajectory(wander(1, 2), times_s=[0.0])
    assert (metrics.move_dist, metrics.dist_level, metrics.rot_angle, metrics.anomaly) == (0.0, 0, 0.0, True)
    assert metrics.traj_turns is None and "3 poses" in metrics.missing["traj_turns"]
    still = measure_trajectory(np.repeat(wander(1, 2), 9, axis=0), times_s=times(9))
    assert still.traj_turns is None and "translate" in still.missing["traj_turns"]
