"""Slopes of inverse depth on known surfaces."""

import numpy as np

from models.sfm.patch_slopes import inverse_depth_slopes
from models.sfm.reconstruction import Reconstruction
from models.sfm.tracks import Tracks

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def make_reconstruction(inverse_depth):
    """One frame with points of given inverse depth by pixel, and their keypoints."""
    rng = np.random.default_rng(1)
    keypoints_px = rng.uniform([0, 0], [640, 480], (600, 2))
    made = Reconstruction(Tracks(keypoints_px=keypoints_px[None]), INTRINSICS_PX)
    made.is_registered[:] = True
    made.reference[:] = 0
    made.inverse_depth = inverse_depth(*keypoints_px.T)
    return made, keypoints_px


def test_slope_of_a_plane():
    # A wall at an angle of 60 degrees: tan(60) = 1.73 is the relative change over a focal length in the middle.
    made, _ = make_reconstruction(lambda x, y: 0.4 * (1 + 1.73 * (x - 320) / 500 * 0.4 - 0.2 * (y - 240) / 500))
    slope = inverse_depth_slopes(made, np.arange(600))
    assert np.abs(np.median(slope, axis=0) / [0.4 * 1.73 * 0.4 / 500, -0.4 * 0.2 / 500] - 1).max() < 0.15


def test_background_is_an_outlier():
    made, keypoints_px = make_reconstruction(lambda x, y: np.where(x < 320, 0.6, 0.2))
    slope = inverse_depth_slopes(made, np.arange(600)) * 500 / made.inverse_depth[:, None]
    at_edge = np.abs(keypoints_px[:, 0] - 320) < 20
    assert at_edge.sum() > 20
    assert np.median(np.abs(slope[at_edge])) < 0.3


def test_without_neighbors_patches_are_fronto_parallel():
    made, _ = make_reconstruction(lambda x, y: 0.4 + 0 * x)
    made.is_observed[0, 2:] = False
    assert not inverse_depth_slopes(made, np.array([0, 1])).any()
