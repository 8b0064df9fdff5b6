from __future__ import annotations

import numpy as np

from core.cameras import invert_poses, pose_matrices, to_world, unproject

# A camera at (1, 2, 3) that looks along the world's x axis.
HALF = np.sqrt(0.5)
WORLD_FROM_CAM = np.array([[1.0, 2.0, 3.0, 0.0, HALF, 0.0, HALF]])


def test_inversion_gives_camera_centers():
    cam_from_world = invert_poses(WORLD_FROM_CAM)
    np.testing.assert_allclose(invert_poses(cam_from_world)[0, :3], [1, 2, 3], atol=1e-12)


def test_matrices_have_the_direction_of_the_poses():
    matrix = pose_matrices(WORLD_FROM_CAM)[0]
    np.testing.assert_allclose(matrix @ [0, 0, 1, 1], [2, 2, 3, 1], atol=1e-12)


def test_a_pixel_is_unprojected_by_its_z_depth():
    points = unproject([2.0], [100, 200, 50, 40], [[150, 140]])
    np.testing.assert_allclose(points, [[2.0, 1.0, 2.0]])


def test_points_go_to_the_world():
    point = to_world([[0.0, 0.0, 2.0]], invert_poses(WORLD_FROM_CAM)[0])
    np.testing.assert_allclose(point, [[3, 2, 3]], atol=1e-12)


def test_frames_without_a_pose_stay_nan():
    assert np.isnan(invert_poses(np.full((1, 7), np.nan))).all()
