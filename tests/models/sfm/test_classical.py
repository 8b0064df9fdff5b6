"""The classical pose estimator on rendered films with ground truth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.accuracy.trajectories import compare_trajectories
from models.sfm.classical import estimate_poses
from models.sfm.estimate import Intrinsics, PoseRequest
from native import se3
from tests.support.films import Film, Take, film, furnished_room, moving_path, shaken
from tests.support.scene import rotation

pytestmark = pytest.mark.slow


@cache
def render(name: str) -> Film:
    return film(name, seconds=3.0)


def estimate(made: Film, **changes):
    return estimate_poses(PoseRequest(frames=made.frames, times_s=made.times_s, **changes))


def ate_percent(found, made):
    return compare_trajectories(found.cam_from_world, found.registered, made.cam_from_world).ate_percent


def rotations_deg(poses):
    """Rotation vectors from the first camera, in degrees."""
    return np.degrees(se3.log(se3.compose(poses, se3.invert(poses[0])))[:, 3:])


@pytest.mark.parametrize("name", ["handheld", "handheld, moving things", "orbit", "driving", "Dolly In", "Truck Left"])
def test_trajectory_and_focal_length_are_estimated(name):
    made = render(name)
    found = estimate(made)
    assert (found.pose_ok, found.motion_kind, found.registered.all()) == (True, "general", True)
    assert ate_percent(found, made) < 1
    # A straight trajectory hardly constrains the focal length: the prior decides.
    limit = 0.12 if name in ("Dolly In", "Truck Left") else 0.03
    assert found.intrinsics_px[0] == pytest.approx(made.intrinsics_px[0, 0], rel=limit)
    assert found.reprojection_px < 1.0
    assert np.allclose(found.cam_from_world[0], se3.IDENTITY)


def test_scale_does_not_drift_in_a_fast_turn():
    walk = shaken(moving_path(along=(0.25, 0, 0.3)), meters=0.15, degrees=4, seed=4)

    def turning(t):
        center, axes = walk(t)
        share = np.clip((t - 2.0) / 0.5, 0, 1)
        return center, rotation("y", np.deg2rad(60) * share**2 * (3 - 2 * share)) @ axes

    made = film([Take(scene=furnished_room(), path=turning)], seconds=5.0, size=(480, 270), noise=2.0)
    found = estimate(made)
    assert (found.pose_ok, found.registered.all()) == (True, True)
    assert ate_percent(found, made) < 0.5


@pytest.mark.parametrize("name", ["Pan Right", "Tilt Up", "Roll CCW", "rotation with shake"])
def test_pure_rotation_has_no_translation(name):
    made = render(name)
    found = estimate(made)
    assert (found.pose_ok, found.motion_kind) == (True, "rotation")
    assert not found.cam_from_world[:, :3].any()
    assert np.abs(rotations_deg(found.cam_from_world) - rotations_deg(made.cam_from_world)).max() < 1.0


@pytest.mark.parametrize("name", ["Stay", "still, moving things"])
def test_static_camera_has_identity_poses(name):
    found = estimate(render(name))
    assert (found.pose_ok, found.motion_kind) == (True, "static")
    assert np.allclose(found.cam_from_world, se3.IDENTITY)


@pytest.mark.parametrize(("name", "reason"), [("cut", "linked"), ("black", "no points in common")])
def test_clips_with_breaks_fail(name, reason):
    found = estimate(film(name, seconds=4.0))
    assert not found.pose_ok
    assert reason in found.reason


@pytest.mark.parametrize("seconds", [4.0, 6.0])
def test_zoom_is_not_a_dolly(seconds):
    found = estimate(film("zoom", seconds=seconds))
    assert not found.pose_ok
    assert "a zoom" in found.reason
    assert np.isnan(found.cam_from_world).all()


def test_fully_dynamic_scene_fails():
    found = estimate(film("everything moves", seconds=4.0))
    assert not found.pose_ok


@pytest.mark.parametrize("mode", ["fix", "refine"])
def test_intrinsics_modes(mode):
    made = render("handheld")
    true = Intrinsics.of(made.intrinsics_px[0])
    wrong = Intrinsics(fx=true.fx * 1.1, fy=true.fy * 1.1, cx=true.cx, cy=true.cy)
    found = estimate(made, intrinsics=wrong, intrinsics_mode=mode)
    expected = wrong.fx if mode == "fix" else true.fx
    assert found.intrinsics_px[0] == pytest.approx(expected, rel=1e-12 if mode == "fix" else 0.03)
    assert found.intrinsics_px[0] == found.intrinsics_px[1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_give_poses_or_a_reason(count):
    made = render("handheld")
    found = estimate_poses(PoseRequest(frames=made.frames[:count], times_s=made.times_s[:count]))
    assert found.cam_from_world.shape == (count, 7)
    assert found.pose_ok or found.reason


def test_equal_frames_give_equal_bytes():
    made = render("handheld")
    first, second = estimate(made), estimate(made, num_threads=2)
    assert first.cam_from_world.tobytes() == second.cam_from_world.tobytes()
    assert first.points_world.tobytes() == second.points_world.tobytes()


def test_textureless_frames_fail():
    frames = [np.full((90, 160, 3), 128, np.uint8)] * 5
    found = estimate_poses(PoseRequest(frames=frames, times_s=np.arange(5) / 5))
    assert not found.pose_ok
    assert found.reason
