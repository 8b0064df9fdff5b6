"""The classical pose estimator on rendered films with exact truth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.geometry.camera_path import camera_centers
from models.sfm.classical import estimate_poses
from models.sfm.estimate import Intrinsics, PoseRequest
from native import se3
from tests.support.films import Film, film

pytestmark = pytest.mark.slow


@cache
def filmed(name: str) -> Film:
    return film(name, seconds=3.0)


def estimate(made: Film, **changes):
    return estimate_poses(PoseRequest(frames=made.frames, times_s=made.times_s, **changes))


def ate_share(found, truth):
    """Root mean square error of centers after the best similarity, as a share of the path's length."""
    a, b = found - found.mean(axis=0), truth - truth.mean(axis=0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = (s * sign).sum() / (a**2).sum() * a @ (u * sign @ vt).T
    return np.sqrt(((aligned - b) ** 2).sum(axis=1).mean()) / np.linalg.norm(np.diff(truth, axis=0), axis=1).sum()


def turned_deg(poses):
    """Rotation of each camera against the first, degrees as rotation vectors."""
    return np.degrees(se3.log(se3.compose(poses, se3.invert(poses[0])))[:, 3:])


@pytest.mark.parametrize("name", ["handheld", "handheld, moving things", "orbit", "driving", "Dolly In", "Truck Left"])
def test_a_path_is_found_with_its_focal_length(name):
    made = filmed(name)
    found = estimate(made)
    assert (found.pose_ok, found.motion_kind, found.registered.all()) == (True, "general", True)
    assert ate_share(camera_centers(found.cam_from_world), camera_centers(made.cam_from_world)) < 0.01
    # A straight path tells little of the focal length; what is usual is taken then.
    limit = 0.12 if name in ("Dolly In", "Truck Left") else 0.03
    assert found.intrinsics_px[0] == pytest.approx(made.intrinsics_px[0, 0], rel=limit)
    assert found.reprojection_px < 1.0
    assert np.allclose(found.cam_from_world[0], se3.IDENTITY)


@pytest.mark.parametrize("name", ["Pan Right", "Tilt Up", "Roll CCW", "rotation with shake"])
def test_a_turning_camera_gets_no_translation(name):
    made = filmed(name)
    found = estimate(made)
    assert (found.pose_ok, found.motion_kind) == (True, "rotation")
    assert not found.cam_from_world[:, :3].any()
    assert np.abs(turned_deg(found.cam_from_world) - turned_deg(made.cam_from_world)).max() < 1.0


@pytest.mark.parametrize("name", ["Stay", "still, moving things"])
def test_a_still_camera_stays(name):
    found = estimate(filmed(name))
    assert (found.pose_ok, found.motion_kind) == (True, "static")
    assert np.allclose(found.cam_from_world, se3.IDENTITY)


@pytest.mark.parametrize(("name", "reason"), [("cut", "linked"), ("black", "no points in common")])
def test_broken_clips_are_told(name, reason):
    found = estimate(film(name, seconds=4.0))
    assert not found.pose_ok
    assert reason in found.reason


@pytest.mark.parametrize("seconds", [4.0, 6.0])
def test_a_zoom_is_no_dolly(seconds):
    found = estimate(film("zoom", seconds=seconds))
    assert not found.pose_ok
    assert "a zoom" in found.reason
    assert np.isnan(found.cam_from_world).all()


def test_a_scene_that_moves_as_a_whole_is_told():
    found = estimate(film("everything moves", seconds=4.0))
    assert not found.pose_ok


@pytest.mark.parametrize("mode", ["fix", "refine"])
def test_known_intrinsics_are_honored(mode):
    made = filmed("handheld")
    true = Intrinsics.of(made.intrinsics_px[0])
    wrong = Intrinsics(fx=true.fx * 1.1, fy=true.fy * 1.1, cx=true.cx, cy=true.cy)
    found = estimate(made, intrinsics=wrong, intrinsics_mode=mode)
    expected = wrong.fx if mode == "fix" else true.fx
    assert found.intrinsics_px[0] == pytest.approx(expected, rel=1e-12 if mode == "fix" else 0.03)
    assert found.intrinsics_px[0] == found.intrinsics_px[1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_do_no_harm(count):
    made = filmed("handheld")
    found = estimate_poses(PoseRequest(frames=made.frames[:count], times_s=made.times_s[:count]))
    assert found.cam_from_world.shape == (count, 7)
    assert found.pose_ok or found.reason


def test_equal_frames_give_equal_bytes():
    made = filmed("handheld")
    first, second = estimate(made), estimate(made, num_threads=2)
    assert first.cam_from_world.tobytes() == second.cam_from_world.tobytes()
    assert first.points_world.tobytes() == second.points_world.tobytes()


def test_gray_frames_have_no_poses():
    frames = [np.full((90, 160, 3), 128, np.uint8)] * 5
    found = estimate_poses(PoseRequest(frames=frames, times_s=np.arange(5) / 5))
    assert not found.pose_ok
    assert found.reason
