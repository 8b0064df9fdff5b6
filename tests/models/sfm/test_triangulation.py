from __future__ import annotations

import numpy as np
import pytest

from models.sfm.triangulation import NOISE_PX, triangulate_points, unproject
from tests.support.synthetic_tracks import INTRINSICS_PX, make_poses, project_tracks, random_points


def triangulate(poses, points, noise_px=0.0, is_observed=None):
    tracks = project_tracks(poses, points, noise_px)
    observed = np.ones((len(poses), len(points)), bool) if is_observed is None else is_observed
    return triangulate_points(tracks.keypoints_px, observed, np.zeros(len(points), np.int64), poses, INTRINSICS_PX)


def test_pixels_and_rays():
    np.testing.assert_allclose(unproject(np.array([370.0, 240.0]), INTRINSICS_PX), [0.1, 0, 1])


def test_exact_keypoints_give_exact_depths():
    points = random_points()
    found = triangulate(make_poses(5, (0.2, 0.0, 0.05)), points)
    np.testing.assert_allclose(found.inverse_depth, 1 / points[:, 2], rtol=1e-9)
    assert found.max_error_px.max() < 1e-6 and not found.is_behind.any()


def test_sigma_tells_the_spread_of_errors():
    points = random_points(2000)
    found = triangulate(make_poses(5, (0.2, 0.0, 0.0)), points, noise_px=NOISE_PX)
    errors = (found.inverse_depth - 1 / points[:, 2]) / found.sigma
    # The reference keypoint has noise, too.
    assert 0.8 < errors.std() < 2.5


def test_more_baseline_is_more_certain():
    points = random_points()
    near, far = (triangulate(make_poses(3, (step, 0, 0)), points).sigma for step in (0.1, 0.4))
    np.testing.assert_allclose(near / far, 4, rtol=0.1)


def test_without_a_second_view_depth_is_unknown():
    observed = np.array([[True], [False]])
    found = triangulate(make_poses(2, (0.2, 0, 0)), random_points(1), is_observed=observed)
    assert found.sigma[0] > 1e3


def test_a_point_behind_a_camera_is_marked():
    # The second camera has passed the points.
    found = triangulate(make_poses(2, (0.5, 0, 12.0)), random_points(50))
    assert found.is_behind.mean() == pytest.approx(1, abs=0.2)
