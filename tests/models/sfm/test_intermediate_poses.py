"""Poses of every frame: interpolation, refinement on rendered films, use in annotation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy.trajectories import align
from media.clip_frames import ClipFrame
from models.annotation import AnnotationSettings, annotate_clip
from models.geometry.camera_path import camera_centers, conjugate, multiply, rotation_vectors
from models.sfm.classical import estimate_poses
from models.sfm.intermediate_poses import ReferenceFrame, interpolate_poses, refine_intermediate_poses
from native import se3
from tests.support.camera_paths import fly
from tests.support.films import film

pytestmark = pytest.mark.slow

STEP = 4


def errors(found, true):
    """Errors of camera centers, and of rotations in degrees."""
    rotated = rotation_vectors(multiply(found[:, 3:], conjugate(true[:, 3:])))
    return np.linalg.norm(camera_centers(found) - camera_centers(true), axis=1), np.degrees(
        np.linalg.norm(rotated, axis=1)
    )


def swaying(times):
    return fly(times, lambda t: (np.sin(2 * t), 0.3, np.cos(t)), lambda t: (10 * np.sin(3 * t), 15 * np.cos(2 * t), 5))


def test_the_error_falls_with_the_fourth_power_of_the_step():
    times = np.arange(0, 4.0001, 0.05)
    true = swaying(times)
    inner = (times > 0.5) & (times < 3.5)
    found = {step: interpolate_poses(true[::step], times[::step], times)[inner] for step in (4, 8)}
    (c4, r4), (c8, r8) = (errors(found[step], true[inner]) for step in (4, 8))
    assert c8.max() / c4.max() > 6 and r8.max() / r4.max() > 6
    assert c4.max() < 2e-3 and r4.max() < 0.1


@given(seed=st.integers(0, 100))
def test_known_poses_are_kept_in_any_world_frame(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.1, 0.4, 8))
    true = swaying(times)
    at = rng.uniform(times[0], times[-1], 20)
    assert np.allclose(interpolate_poses(true, times, times), se3.normalize(true), atol=1e-9)
    world = se3.exp(rng.normal(size=6))
    moved = interpolate_poses(se3.compose(true, world), times, at)
    assert np.allclose(moved, se3.compose(interpolate_poses(true, times, at), world), atol=1e-9)


def test_missing_poses_are_skipped_and_ends_extrapolated():
    times = np.arange(6.0)
    poses = fly(times, lambda t: (1.0, 0, 0), lambda t: (0, 0, 0))
    poses[2] = np.nan
    found = interpolate_poses(poses, times, np.array([-1.0, 2.0, 2.5, 7.0]))
    assert np.allclose(camera_centers(found)[:, 0], [-1, 2, 2.5, 7])
    assert np.isnan(interpolate_poses(poses[2:3], times[2:3], times)).all()
    assert np.allclose(interpolate_poses(poses[1:2], times[1:2], times), poses[1])


@pytest.fixture(scope="module")
def handheld():
    return film("handheld", seconds=2.2, fps=5 * STEP, size=(320, 180))


def test_refinement_reduces_interpolation_errors(handheld):
    made, poses = handheld, handheld.cam_from_world
    known = np.arange(0, len(poses), STEP)
    initial = interpolate_poses(poses[known], made.times_s[known], made.times_s)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in made.frames]

    def reference(k):
        return ReferenceFrame(
            gray=gray[k],
            cam_from_world=poses[k],
            intrinsics_px=made.intrinsics_px[k],
            inverse_depth=1 / made.depth_m[k],
            is_usable=~made.moving[k],
        )

    before, after = [], []
    for k in known[:-1]:
        between = slice(k + 1, k + STEP)
        refined = refine_intermediate_poses([reference(k), reference(k + STEP)], gray[between], initial[between])
        before.append(errors(initial[between], poses[between]))
        after.append(errors(refined, poses[between]))
    (old_m, old_deg), (new_m, new_deg) = (np.concatenate(e, axis=1) for e in (before, after))
    assert np.median(old_deg) > 5 * np.median(new_deg) and new_deg.max() < 0.05
    assert np.median(old_m) > 2 * np.median(new_m) and new_m.max() < 0.005


def test_without_tracked_points_poses_are_nan(handheld):
    made = handheld
    black = np.zeros((180, 320), np.uint8)
    reference = ReferenceFrame(
        gray=cv2.cvtColor(made.frames[0], cv2.COLOR_RGB2GRAY),
        cam_from_world=made.cam_from_world[0],
        intrinsics_px=made.intrinsics_px[0],
        inverse_depth=1 / made.depth_m[0],
        is_usable=np.ones((180, 320), bool),
    )
    assert np.isnan(refine_intermediate_poses([reference], [black], made.cam_from_world[1:2])).all()


def offsets(found, true):
    """Distances of camera centers after alignment."""
    found, true = camera_centers(found), camera_centers(true)
    return np.linalg.norm(align(found, true).move(found) - true, axis=1)


def every_frame(made, folder, **settings):
    folder.mkdir()
    frames = [
        ClipFrame(
            rgb=rgb if k % STEP == 0 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY),
            index=k,
            time_s=float(made.times_s[k]),
            is_annotated=k % STEP == 0,
        )
        for k, rgb in enumerate(made.frames)
    ]
    return annotate_clip(
        frames,
        (320, 180),
        None,
        AnnotationSettings(poses_every_frame=True, **settings),
        estimate_poses,
        str(folder),
    )


def test_every_frame_of_a_clip_has_its_pose(handheld, tmp_path):
    found = every_frame(handheld, tmp_path / "clip")
    dense, true = found.dense_cam_from_world, handheld.cam_from_world
    assert dense.shape == true.shape and found.pose_dense_refined_share > 0.9
    assert np.allclose(dense[::STEP], found.cam_from_world)
    offset = offsets(dense, true)
    # Intermediate frames err as the annotated ones do.
    assert np.sqrt((offset**2).mean()) < 1.5 * np.sqrt((offset[::STEP] ** 2).mean()) + 0.003


def test_every_frame_has_its_pose_in_windows_too(handheld, tmp_path):
    whole = every_frame(handheld, tmp_path / "whole").dense_cam_from_world
    parts = every_frame(handheld, tmp_path / "parts", window_frames=8, window_overlap_frames=4)
    assert parts.pose_num_windows > 1 and parts.pose_dense_refined_share > 0.8
    assert offsets(parts.dense_cam_from_world, whole).max() < 0.03 * np.linalg.norm(
        np.ptp(camera_centers(whole), axis=0)
    )


def test_pure_rotation_is_refined_without_translation(tmp_path):
    made = film("rotation with shake", seconds=2.0, fps=5 * STEP, size=(320, 180))
    found = every_frame(made, tmp_path / "clip")
    assert found.camera_motion_kind == "rotation" and found.pose_dense_refined_share > 0.9
    dense = found.dense_cam_from_world
    assert np.allclose(dense[:, :3], 0, atol=1e-9)
    first = se3.invert(made.cam_from_world[0])
    _, angle = errors(dense, se3.compose(made.cam_from_world, first))
    assert angle.max() < 0.6
