from __future__ import annotations

import numpy as np
import pytest

from models.annotation.sim3_alignment import Overlap, align_window, blend_overlap
from native import se3
from tests.support.synthetic_tracks import make_poses

SCALE = 2.5
TARGET_FROM_SOURCE = np.asarray(se3.exp(np.array([1.0, -2.0, 0.5, 0.1, 0.3, -0.2])))


def overlap(poses, scale=SCALE, depths=False):
    """Shared frames whose source world is the target world, moved and scaled."""
    moved = np.asarray(se3.compose(poses, TARGET_FROM_SOURCE))
    moved[:, :3] /= scale
    maps = np.full((len(poses), 20, 20), 4.0, np.float32) if depths else None
    return Overlap(
        cam_from_target=poses,
        cam_from_source=moved,
        target_depth=maps,
        source_depth=None if maps is None else maps / np.float32(scale),
    )


def test_the_similarity_of_two_worlds_is_found():
    shared = overlap(make_poses(6, (0.2, 0.05, 0.1), yaw_deg=2.0))
    found = align_window(shared, estimate_scale=True)
    assert found.scale == pytest.approx(SCALE) and found.center_rmse < 1e-9
    np.testing.assert_allclose(found.transform_poses(shared.cam_from_source), shared.cam_from_target, atol=1e-9)


def test_a_straight_trajectory_determines_the_rotation():
    found = align_window(overlap(make_poses(6, (0.0, 0.0, 0.3))), estimate_scale=True)
    np.testing.assert_allclose(found.target_from_source[3:], TARGET_FROM_SOURCE[3:], atol=1e-9)


def test_depth_gives_the_scale_of_a_rotating_camera():
    shared = overlap(make_poses(6, yaw_deg=1.0), depths=True)
    assert align_window(shared, estimate_scale=True).scale == pytest.approx(SCALE, rel=1e-3)
    assert "scale is lost" in align_window(overlap(make_poses(6, yaw_deg=1.0)), estimate_scale=True)


def test_without_common_frames_there_is_a_reason():
    shared = overlap(make_poses(4, (0.2, 0, 0)))
    shared.cam_from_source[1:] = np.nan
    assert "have a pose on both sides" in align_window(shared, estimate_scale=True)


def test_the_overlap_is_blended_and_missing_poses_are_taken_from_the_other_side():
    first, second = make_poses(3), make_poses(3)
    second[:, 0] = 1.0
    first[2] = np.nan
    blended = blend_overlap(first, second)
    np.testing.assert_allclose(blended[:, 0], [0.25, 0.5, 1.0])
