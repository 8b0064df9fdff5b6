"""Windows of long clips: how they are cut, joined and written, on made-up cameras and a rendered film."""

from __future__ import annotations

import io
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy.trajectories import compare_trajectories
from media.clip_frames import ClipFrame
from models.annotation import AnnotationSettings, annotate_clip
from models.annotation.joining import Overlap, blend_poses, join_windows
from models.annotation.windows import split_windows
from models.poses.classical import estimate_poses
from models.poses.estimate import without_poses
from native import se3
from tests.camera_paths import wander
from tests.films import film

PIXEL = np.zeros((1, 1, 3), np.uint8)


def stream(count, every=1):
    for k in range(count):
        yield ClipFrame(rgb=PIXEL, index=k, time_s=k / 25, is_annotated=k % every == 0)


@given(
    count=st.integers(1, 200),
    every=st.integers(1, 4),
    length=st.integers(8, 40),
    overlap=st.integers(1, 20),
)
def test_windows_cover_all_annotated_frames_and_share_what_they_say(count, every, length, overlap):
    overlap = min(overlap, length // 2)
    windows = list(split_windows(stream(count, every), length, overlap))
    ordinals = [[f.index // every for f in w.frames if f.is_annotated] for w in windows]
    expected = 0
    for window, seen in zip(windows, ordinals, strict=True):
        assert seen == list(range(seen[0], seen[-1] + 1))
        assert (window.start, seen[0] + window.overlap) == (seen[0], expected)
        end = seen[-1] * every + 1 if window.following_overlap else count
        assert [f.index for f in window.frames] == list(range(seen[0] * every, end))
        expected = seen[-1] + 1
    assert expected == -(-count // every)
    assert [w.following_overlap for w in windows] == [w.overlap for w in windows[1:]] + [0]
    slack = (length - overlap) // 2
    assert all(len(seen) <= length + slack for seen in ordinals)
    if len(windows) > 1:
        assert min(map(len, ordinals)) >= min(length, overlap + slack)


def test_frames_of_passed_windows_are_let_go():
    given_out = []

    def frames():
        for k in range(400):
            rgb = np.zeros((4, 4, 3), np.uint8)
            given_out.append(weakref.ref(rgb))
            yield ClipFrame(rgb=rgb, index=k, time_s=float(k))
            del rgb

    most = 0
    for window in split_windows(frames(), 40, 10):
        assert len(window.frames) <= 55
        most = max(most, sum(picture() is not None for picture in given_out))
    assert most <= 55 + 1


def seen_through(motion, scale, poses):
    """The same cameras in a world moved by `motion` whose unit is `scale` of ours."""
    moved = se3.compose(poses, motion)
    moved[:, :3] /= scale
    return moved


def test_a_similarity_is_found_and_undone():
    before = se3.normalise(wander(12, seed=3))
    motion = se3.exp(np.array([0.5, -1.0, 2.0, 0.3, -0.2, 0.9]))
    now = seen_through(motion, 2.5, before)
    join = join_windows(Overlap(before=before, now=now, depth_before=None, depth_now=None), needs_scale=True)
    assert join.scale == pytest.approx(2.5)
    assert np.allclose(join.motion, motion)
    assert np.allclose(join.apply(now), before, atol=1e-9)
    assert (join.scale_drift, round(join.offset, 9)) == (None, 0.0)


def test_depths_tell_the_scale_of_a_camera_that_hardly_moves():
    poses = np.tile(se3.IDENTITY, (6, 1))
    depth = np.random.default_rng(0).uniform(1, 5, (6, 20, 30)).astype(np.float32)
    drift = np.linspace(0.98, 1.02, 6, dtype=np.float32)[:, None, None]
    overlap = Overlap(before=poses, now=poses, depth_before=3 * depth * drift, depth_now=depth)
    join = join_windows(overlap, needs_scale=True)
    assert join.scale == pytest.approx(3, rel=0.01)
    assert join.scale_drift == pytest.approx(np.std(np.log(drift)), rel=1e-3)
    assert join.offset == 0


def test_a_lost_scale_and_too_few_common_poses_are_said():
    poses = np.tile(se3.IDENTITY, (6, 1))
    overlap = Overlap(before=poses, now=poses, depth_before=None, depth_now=None)
    assert "scale is lost" in join_windows(overlap, needs_scale=True)
    assert join_windows(overlap, needs_scale=False).scale == 1
    holes = poses.copy()
    holes[1:5] = np.nan
    assert "only 2 of 6" in join_windows(replace(overlap, before=holes), needs_scale=False)


def test_poses_go_over_from_one_window_to_the_next():
    a = np.tile(se3.IDENTITY, (4, 1))
    b = a.copy()
    b[:, 0] = 1.0
    a[3], b[0] = np.nan, np.nan
    assert blend_poses(a, b)[:, 0].tolist() == pytest.approx([0.0, 0.4, 0.6, 1.0])


@pytest.fixture(scope="module")
def walk():
    return film("handheld", seconds=6.0, fps=5, size=(320, 180))


def annotated(made, folder, length, overlap, estimate=estimate_poses):
    """An annotation, its depth maps and masks."""
    folder.mkdir()
    frames = [ClipFrame(rgb=f, index=k, time_s=float(made.times_s[k])) for k, f in enumerate(made.frames)]
    settings = AnnotationSettings(window_frames=length, window_overlap_frames=overlap)
    found = annotate_clip(frames, (320, 180), None, settings, estimate, str(folder))
    if found.depth_path is None:
        return found, None
    with np.load(io.BytesIO((folder / "depth.npz").read_bytes())) as file:
        return found, file["depth"].astype(np.float64)


def test_windows_agree_with_one_window_for_all(walk, tmp_path):
    whole, depth_of_whole = annotated(walk, tmp_path / "whole", 100, 20)
    parts, depth = annotated(walk, tmp_path / "parts", 14, 4)
    assert (whole.num_windows, parts.num_windows) == (1, 3)
    assert parts.pose_ok and np.isfinite(parts.cam_from_world).all()
    assert depth.shape == depth_of_whole.shape == (30, 180, 320)
    for found in (whole, parts):
        error = compare_trajectories(found.cam_from_world, np.ones(30, bool), walk.cam_from_world)
        assert error.ate_percent < 1.0
        assert error.rpe_rotation_deg < 0.2
    common = (depth > 0) & (depth_of_whole > 0)
    assert common.mean() > 0.6
    ratio = np.array([np.median(d[c] / t[c]) for d, t, c in zip(depth, walk.depth_m, common, strict=True)])
    # One scale for all frames, whichever window they are from.
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.08
    assert 0 <= parts.scale_drift < 0.1 and 0 <= parts.join_offset < 0.05
    assert (whole.scale_drift, whole.join_offset) == (None, None)


def test_a_window_without_poses_ends_the_clip_s_and_says_where(walk, tmp_path):
    calls = []

    def estimate(request):
        calls.append(len(request.frames))
        return without_poses(request, "nothing is seen") if len(calls) == 2 else estimate_poses(request)

    found, depth = annotated(walk, tmp_path / "parts", 14, 4, estimate)
    assert len(calls) == 2 and depth is None and found.masks_path is None
    assert not found.pose_ok
    assert found.reason == "in the window of annotated frames from 10 on: nothing is seen"
    known = np.isfinite(found.cam_from_world).all(axis=1)
    assert known.tolist() == [True] * 14 + [False] * 16
    assert np.isfinite(found.intrinsics_px).all() and len(found.frame) == 30
