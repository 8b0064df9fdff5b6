"""How surfaces are turned, from the depths of the points on them."""

import numpy as np

from models.sfm.patch_slopes import inverse_depth_slopes
from models.sfm.reconstruction import Reconstruction
from models.sfm.tracks import Tracks

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def map_of(inverse_depth):
    """One camera that sees points with inverse depths that are a function of the pixel, and that function's values."""
    rng = np.random.default_rng(1)
    position = rng.uniform([0, 0], [640, 480], (600, 2))
    made = Reconstruction(Tracks(keypoints_px=position[None]), INTRINSICS_PX)
    made.is_registered[:] = True
    made.reference[:] = 0
    made.inverse_depth = inverse_depth(*position.T)
    return made, position


def test_the_slope_of_a_plane_is_found():
    # A wall turned by 60 degrees: tan(60) = 1.73 is the relative change over a focal length in the middle.
    made, _ = map_of(lambda x, y: 0.4 * (1 + 1.73 * (x - 320) / 500 * 0.4 - 0.2 * (y - 240) / 500))
    slope = inverse_depth_slopes(made, np.arange(600))
    assert np.abs(np.median(slope, axis=0) / [0.4 * 1.73 * 0.4 / 500, -0.4 * 0.2 / 500] - 1).max() < 0.15


def test_the_surface_behind_does_not_count():
    made, position = map_of(lambda x, y: np.where(x < 320, 0.6, 0.2))
    slope = inverse_depth_slopes(made, np.arange(600)) * 500 / made.inverse_depth[:, None]
    at_edge = np.abs(position[:, 0] - 320) < 20
    assert at_edge.sum() > 20
    assert np.median(np.abs(slope[at_edge])) < 0.3


def test_points_without_neighbors_face_the_camera():
    made, _ = map_of(lambda x, y: 0.4 + 0 * x)
    made.is_observed[0, 2:] = False
    assert not inverse_depth_slopes(made, np.array([0, 1])).any()
