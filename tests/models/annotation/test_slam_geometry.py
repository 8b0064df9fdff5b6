"""Geometry from tracked cameras: what moves, what is far, and cameras that do not travel."""

from dataclasses import replace

import numpy as np
import pytest

from models.annotation.slam_geometry import tracked_geometry
from models.slam.tracked_frames import TrackedFrames
from tests.support.camera_paths import steady


def tracked(velocity=(0, 0, 0), turn_deg_s=(0, 0, 0)):
    _, poses = steady(velocity, turn_deg_s, seconds=1.0)
    static = np.ones((len(poses), 4, 6), np.float32)
    static[:, 0] = 0.2
    inverse_depth = np.full(static.shape, 0.5, np.float32)
    inverse_depth[:, :, 0] = 0
    return TrackedFrames(
        frame=np.arange(len(poses)),
        cam_from_world=poses,
        intrinsics_px=np.array([5.0, 5.0, 3.0, 2.0]),
        inverse_depth=inverse_depth,
        static=static,
        disagreement=np.full(static.shape, 0.08, np.float32),
        residual_px=np.full(len(poses), 0.7, np.float32),
        meters_per_unit=3.0,
        focal_observed=True,
    )


def test_depth_masks_and_scale():
    found = tracked_geometry(tracked((0.4, 0, 0)), 0.5)
    assert found.poses.pose_ok and found.poses.motion_kind == "general"
    assert found.scene_depth == pytest.approx(2.0)
    assert found.meters_per_unit == 3.0
    assert not found.is_depth_valid[:, :, 0].any() and found.is_depth_valid[:, :, 1:].all()
    assert found.depth[found.is_depth_valid] == pytest.approx(2.0)
    assert found.is_moving[:, 0].all() and not found.is_moving[:, 1:].any()


def test_quality_is_what_neighboring_frames_and_flow_say():
    seen = tracked((0.4, 0, 0))
    seen.disagreement[:, 1] = np.nan
    seen.disagreement[:, 2] = 0.001
    seen.residual_px[-1] = np.nan  # no pair begins in the last frame
    found = tracked_geometry(seen, 0.5)
    assert found.poses.reprojection_px == pytest.approx(0.7) and found.poses.registered.all()
    assert found.depth_sigma[:, 3, 1:] == pytest.approx(0.08 * np.sqrt(np.pi) / 2)
    assert found.depth_sigma[:, 1, 1:] == pytest.approx(0.1)
    assert found.depth_sigma[:, 2, 1:] == pytest.approx(0.02)
    assert (found.depth_sigma[~found.is_depth_valid] == 0).all()


@pytest.mark.parametrize(("residual", "reason"), [(9.0, "9.0 px"), (np.nan, "nothing confirms")])
def test_poses_that_the_flow_contradicts_are_not_fit_for_use(residual, reason):
    seen = tracked((0.4, 0, 0))
    seen.residual_px[1:] = residual
    seen.residual_px[0] = residual if np.isnan(residual) else 0.5
    found = tracked_geometry(seen, 0.5)
    assert not found.poses.pose_ok and reason in found.poses.reason
    assert found.depth is None


@pytest.mark.parametrize(("turn", "kind"), [((0, 20, 0), "rotation"), ((0, 0, 0), "static")])
def test_cameras_that_do_not_travel(turn, kind):
    found = tracked_geometry(tracked((0.001, 0, 0), turn), 0.5)
    assert found.poses.motion_kind == kind
    assert (found.poses.cam_from_world[:, :3] == 0).all()
    assert found.scene_depth is None


def test_poses_that_are_no_numbers_are_not_fit_for_use():
    moved = tracked((0.4, 0, 0))
    poses = moved.cam_from_world.copy()
    poses[2, 0] = np.nan
    broken = replace(moved, cam_from_world=poses)
    found = tracked_geometry(broken, 0.5)
    assert not found.poses.pose_ok and found.poses.reason
    assert found.depth is None and found.is_moving is None
