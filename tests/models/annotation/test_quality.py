"""Measures of an annotation that need no truth, on films whose truth is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.annotation.map_files import StoredMaps
from models.annotation.quality import consistent_flow_shares, depth_reprojection_errors
from models.sfm.classical import estimate_poses
from models.sfm.estimate import PoseRequest
from tests.support.films import film

pytestmark = pytest.mark.slow


@cache
def filmed(name):
    return film(name, seconds=2.0)


def true_maps(made, scale=None):
    depth = made.depth_m.copy()
    if scale is not None:
        depth *= scale[:, None, None]
    return StoredMaps(depth=depth, depth_sigma=np.zeros_like(depth), is_moving=made.moving)


def test_true_depth_agrees_from_frame_to_frame_and_wrong_depth_does_not():
    made = filmed("orbit")
    right = depth_reprojection_errors(true_maps(made), made.cam_from_world, made.intrinsics_px)
    assert len(right) == len(made.frames) - 1 and right.max() < 0.01
    flicker = np.where(np.arange(len(made.frames)) % 2, np.float32(1.1), np.float32(1.0))
    wrong = depth_reprojection_errors(true_maps(made, flicker), made.cam_from_world, made.intrinsics_px)
    assert wrong.min() > 0.06 and wrong.max() < 0.12


def test_frames_without_pose_or_depth_are_left_out():
    made = filmed("orbit")
    poses = made.cam_from_world.copy()
    poses[3] = np.nan
    assert len(depth_reprojection_errors(true_maps(made), poses, made.intrinsics_px)) == len(poses) - 3
    nothing = true_maps(made, np.zeros(len(poses), np.float32))
    assert len(depth_reprojection_errors(nothing, made.cam_from_world, made.intrinsics_px)) == 0


def test_a_share_of_pixels_is_followed_where_there_is_something_to_follow():
    assert consistent_flow_shares(filmed("orbit").frames).min() > 0.6
    black = [np.zeros((90, 160, 3), np.uint8)] * 3
    assert consistent_flow_shares(black).tolist() == [0, 0]
    noise = [np.random.default_rng(k).integers(0, 256, (90, 160, 3), np.uint8) for k in range(3)]
    assert consistent_flow_shares(noise).max() < 0.4
    assert len(consistent_flow_shares(black[:1])) == 0


@pytest.mark.parametrize(("name", "best", "worst"), [("orbit", 0.0, 0.03), ("Truck Right", 0.0, 0.2)])
def test_the_focal_length_is_said_to_be_known_where_it_is(name, best, worst):
    made = filmed(name)
    found = estimate_poses(PoseRequest(frames=made.frames, times_s=made.times_s))
    assert best < found.focal_sigma < worst
    error = abs(found.intrinsics_px[0] / made.intrinsics_px[0, 0] - 1)
    assert error < max(0.02, 6 * found.focal_sigma)
