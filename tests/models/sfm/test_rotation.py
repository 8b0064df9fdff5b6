from __future__ import annotations

import numpy as np

from models.sfm.rotation import bearings, estimate_rotations
from native import se3
from tests.support.synthetic_tracks import INTRINSICS_PX, make_poses, project_tracks, random_points


def pair(poses, points, noise_px=0.0):
    return project_tracks(poses, points, noise_px).correspondences(np.array([0]), np.array([len(poses) - 1]))


def test_bearings_are_unit_vectors():
    found = bearings(np.array([[320.0, 240.0], [820.0, 240.0]]), INTRINSICS_PX)
    np.testing.assert_allclose(found, [[0, 0, 1], [np.sqrt(0.5), 0, np.sqrt(0.5)]], atol=1e-12)


def test_a_pure_rotation_is_found_without_error():
    poses = make_poses(4, yaw_deg=2.0)
    rotation, error = estimate_rotations(*pair(poses, random_points()), INTRINSICS_PX)
    np.testing.assert_allclose(rotation[0], se3.to_matrix(poses[-1:])[0, :3, :3], atol=1e-9)
    assert np.nanmax(error) < 1e-6


def test_moving_objects_are_outliers():
    poses = make_poses(4, yaw_deg=2.0)
    matches = pair(poses, random_points(), noise_px=0.2)
    matches.target[:, :60] += [25.0, 10.0]
    rotation, error = estimate_rotations(*matches, INTRINSICS_PX)
    np.testing.assert_allclose(rotation[0], se3.to_matrix(poses[-1:])[0, :3, :3], atol=1e-3)
    assert np.median(error[0, :60]) > 20 and np.median(error[0, 60:]) < 1


def test_padding_has_no_error():
    matches = pair(make_poses(2), random_points(20))
    matches.is_common[0, 15:] = False
    _, error = estimate_rotations(*matches, INTRINSICS_PX)
    assert np.isnan(error[0, 15:]).all() and np.isfinite(error[0, :15]).all()
