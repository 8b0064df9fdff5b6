"""Windows of long clips, aligned to submaps, on synthetic cameras and a rendered film."""

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
from models.annotation.sim3_alignment import Overlap, align_window, blend_overlap
from models.annotation.windows import split_windows
from models.sfm.classical import estimate_poses
from models.sfm.estimate import PoseEstimate, without_poses
from native import se3
from storage.shard_members import read_masks
from tests.support.camera_paths import wander
from tests.support.films import film

pytestmark = pytest.mark.slow

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
        end = seen[-1] * every + 1 if window.next_overlap else count
        assert [f.index for f in window.frames] == list(range(seen[0] * every, end))
        expected = seen[-1] + 1
    assert expected == -(-count // every)
    assert [w.next_overlap for w in windows] == [w.overlap for w in windows[1:]] + [0]
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
        most = max(most, sum(image() is not None for image in given_out))
    assert most <= 55 + 1


def seen_through(motion, scale, poses):
    """The same cameras in a world moved by `motion` whose unit is `scale` of ours."""
    moved = se3.compose(poses, motion)
    moved[:, :3] /= scale
    return moved


def test_a_similarity_is_found_and_undone():
    before = se3.normalize(wander(12, seed=3))
    motion = se3.exp(np.array([0.5, -1.0, 2.0, 0.3, -0.2, 0.9]))
    now = seen_through(motion, 2.5, before)
    alignment = align_window(
        Overlap(cam_from_target=before, cam_from_source=now, target_depth=None, source_depth=None), estimate_scale=True
    )
    assert alignment.scale == pytest.approx(2.5)
    assert np.allclose(alignment.target_from_source, motion)
    assert np.allclose(alignment.transform_poses(now), before, atol=1e-9)
    assert (alignment.scale_drift, round(alignment.center_rmse, 9)) == (None, 0.0)


def test_depths_tell_the_scale_of_a_camera_that_hardly_moves():
    poses = np.tile(se3.IDENTITY, (6, 1))
    depth = np.random.default_rng(0).uniform(1, 5, (6, 20, 30)).astype(np.float32)
    drift = np.linspace(0.98, 1.02, 6, dtype=np.float32)[:, None, None]
    overlap = Overlap(cam_from_target=poses, cam_from_source=poses, target_depth=3 * depth * drift, source_depth=depth)
    alignment = align_window(overlap, estimate_scale=True)
    assert alignment.scale == pytest.approx(3, rel=0.01)
    assert alignment.scale_drift == pytest.approx(np.std(np.log(drift)), rel=1e-3)
    assert alignment.center_rmse == 0


def test_a_lost_scale_and_too_few_common_poses_are_said():
    poses = np.tile(se3.IDENTITY, (6, 1))
    overlap = Overlap(cam_from_target=poses, cam_from_source=poses, target_depth=None, source_depth=None)
    assert "scale is lost" in align_window(overlap, estimate_scale=True)
    assert align_window(overlap, estimate_scale=False).scale == 1
    holes = poses.copy()
    holes[1:5] = np.nan
    assert "only 2 of 6" in align_window(replace(overlap, cam_from_target=holes), estimate_scale=False)


def test_poses_go_over_from_one_window_to_the_next():
    a = np.tile(se3.IDENTITY, (4, 1))
    b = a.copy()
    b[:, 0] = 1.0
    a[3], b[0] = np.nan, np.nan
    assert blend_overlap(a, b)[:, 0].tolist() == pytest.approx([0.0, 0.4, 0.6, 1.0])


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
    assert (whole.pose_num_windows, parts.pose_num_windows) == (1, 3)
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
    assert 0 <= parts.pose_scale_drift < 0.1 and 0 <= parts.pose_join_offset < 0.05
    assert (whole.pose_scale_drift, whole.pose_join_offset) == (None, None)


def made_up_frames(count, every=1):
    """Frames of a texture that slides, too small to find poses in."""
    texture = np.random.default_rng(0).integers(0, 256, (48, 64 + 2 * count * every, 3), np.uint8)
    return [
        ClipFrame(
            rgb=texture[:, 2 * k : 2 * k + 64] if k % every == 0 else texture[:, 2 * k : 2 * k + 64, 0],
            index=k,
            time_s=float(k),
            is_annotated=k % every == 0,
        )
        for k in range(count * every)
    ]


class Told:
    """Estimator of true poses, each time in another world and unit.

    It fails for windows that begin at some times.

    Those in `fails` have none (`breaks` says where they are broken), those in `lost` none in their first six frames.
    With `one_world` all are in that of the clip's first frame, as of a camera that is tracked throughout.
    """

    def __init__(self, true, fails=(), lost=(), breaks=(), one_world=False):
        self.true, self.fails, self.lost, self.breaks, self.one_world = true, fails, lost, breaks, one_world
        self.asked = []

    def __call__(self, request):
        times = request.times_s.astype(int)
        first, last = times[[0, -1]].tolist()
        self.asked.append((first, last))
        breaks = tuple(b - first for b in self.breaks if first <= b < last)
        if first in self.fails or breaks:
            return without_poses(request, f"nothing is seen from {first} on", breaks)
        own = self.true[times]
        if not self.one_world:
            own = se3.compose(own, se3.invert(self.true[first]))
            own[:, :3] /= 1 + first / 10
        if first in self.lost:
            own[:6] = np.nan
        return PoseEstimate(
            cam_from_world=own,
            registered=np.isfinite(own).all(axis=1),
            intrinsics_px=np.array([50.0 + first, 50.0 + first, 31.5, 23.5]),
            motion_kind="general",
            pose_ok=True,
            reason=None,
            points_world=np.zeros((0, 3)),
            reprojection_px=0.1,
        )


def told(folder, count=40, every=1, **how):
    """An annotation in windows of 16 frames that share 4, and the estimator's calls.

    Windows begin at 0, 12 and 24.
    """
    estimate = Told(se3.normalize(wander(count * every, seed=3)), **how)
    settings = AnnotationSettings(window_frames=16, window_overlap_frames=4, poses_every_frame=every > 1)
    found = annotate_clip(made_up_frames(count, every), (64, 48), None, settings, estimate, str(folder))
    return found, estimate


def check_submap(found, true, first, end):
    """Only these frames have poses, in the world of the first one."""
    known = np.isfinite(found.cam_from_world).all(axis=1)
    assert known.tolist() == [first <= k < end for k in range(len(known))]
    assert np.allclose(found.cam_from_world[first], se3.IDENTITY, atol=1e-9)
    expected = se3.compose(true[first:end], se3.invert(true[first]))
    ratio = np.linalg.norm(found.cam_from_world[first + 1 : end, :3], axis=1) / np.linalg.norm(expected[1:, :3], axis=1)
    assert np.allclose(ratio, ratio[0])
    expected[:, :3] *= ratio[0]
    assert np.allclose(found.cam_from_world[first:end], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "first", "end", "windows", "reason"),
    [
        ({}, 0, 40, 3, None),
        ({"fails": [0]}, 12, 40, 2, "annotated frames from 0 on, counted from there: nothing is seen from 0 on"),
        ({"fails": [24]}, 0, 28, 2, "annotated frames from 24 on, counted from there: nothing is seen from 24 on"),
        ({"fails": [12]}, 0, 16, 1, "annotated frames from 12 on, counted from there: nothing is seen from 12 on"),
        ({"fails": [0], "one_world": True}, 12, 40, 2, "nothing is seen from 0 on"),
        # Of equally long stretches the first.
        (
            {"lost": [12], "fails": [24]},
            0,
            16,
            1,
            "only 0 of 4 shared frames have a pose on both sides (the first of 2 failures)",
        ),
        ({"lost": [24]}, 0, 28, 2, "only 0 of 4 shared frames have a pose on both sides"),
        # The parts before and behind a break are windows of their own: one is joined, the other begins a stretch.
        ({"breaks": [14, 15, 16]}, 17, 40, 2, "nothing is seen from 0 on (the first of 2 failures)"),
        ({"breaks": [33]}, 0, 34, 3, "annotated frames from 24 on, counted from there: nothing is seen from 24 on"),
        ({"breaks": [26]}, 0, 27, 2, "nothing is seen from 12 on (the first of 2 failures)"),
    ],
)
def test_the_longest_stretch_is_kept(tmp_path, how, first, end, windows, reason):
    found, estimate = told(tmp_path, **how)
    check_submap(found, estimate.true, first, end)
    assert (found.pose_ok, found.pose_num_windows) == (True, windows)
    if reason is None:
        assert found.pose_reason is None
    else:
        assert found.pose_reason.startswith(f"of 40 annotated frames only those from {first} to {end - 1} have poses: ")
        assert reason in found.pose_reason
    assert np.isfinite(found.intrinsics_px).all() and len(found.frame) == len(found.time_s) == 40
    assert (np.diff(found.intrinsics_px[:, 0]) >= 0).all()


def test_each_frame_is_asked_about_once_more_at_most(tmp_path):
    _, estimate = told(tmp_path, breaks=[14, 15, 16])
    assert estimate.asked == [(0, 15), (0, 14), (12, 27), (17, 27), (24, 39)]


@pytest.mark.parametrize("fails", [[0, 12, 24], [12, 24]])
def test_where_few_frames_have_poses_they_are_not_fit_for_use(tmp_path, fails):
    found, estimate = told(tmp_path, count=40 if 0 in fails else 42, fails=fails)
    assert not found.pose_ok and found.depth_path is None and found.masks_path is None
    if 0 in fails:
        assert np.isnan(found.cam_from_world).all()
        assert found.pose_reason.endswith("nothing is seen from 0 on (the first of 3 failures)")
    else:
        check_submap(found, estimate.true, 0, 16)
        assert found.pose_reason.startswith(
            "of 42 annotated frames only those from 0 to 15 have poses: in the window of"
        )


def test_masks_are_kept_of_all_windows_that_have_them(tmp_path, monkeypatch):
    def as_wide_as_frames_before(frames, *_):
        """In frame k of a window the first k + 1 columns are moving."""
        count, height, width = frames.shape
        return np.broadcast_to(np.arange(width) <= np.arange(count)[:, None, None], (count, height, width))

    monkeypatch.setattr("models.annotation.geometry.moving_masks", as_wide_as_frames_before)
    for fails, expected in (
        ([], [*range(1, 15), *range(3, 15), *range(3, 17)]),
        ([12], [*range(1, 17), *[0] * 8, *range(1, 17)]),
        ([0], [*[0] * 12, *range(1, 15), *range(3, 17)]),
    ):
        folder = tmp_path / f"without {fails}"
        folder.mkdir()
        found, _ = told(folder, fails=fails)
        masks = read_masks((folder / "dyn_masks.npz").read_bytes())
        assert masks[:, 0].sum(axis=1).tolist() == expected
        known = masks.any(axis=(1, 2))
        assert found.dynamic_ratio == pytest.approx(masks[known].mean())


def test_poses_between_annotated_frames_are_those_of_the_stretch(tmp_path):
    found, _ = told(tmp_path, every=3, fails=[36])
    known = np.isfinite(found.dense_cam_from_world).all(axis=1)
    assert known.tolist() == [k <= 45 for k in range(120)]


def test_a_black_moment_costs_no_more_than_itself(walk, tmp_path):
    frames = [np.zeros_like(f) if k in (13, 14) else f for k, f in enumerate(walk.frames)]
    found, depth = annotated(replace(walk, frames=frames), tmp_path / "parts", 16, 4)
    known = np.isfinite(found.cam_from_world).all(axis=1)
    assert found.pose_ok and known.tolist() == [k >= 15 for k in range(30)]
    assert "frames 12 and 13 have no points in common" in found.pose_reason
    error = compare_trajectories(found.cam_from_world, known, walk.cam_from_world)
    assert error.ate_percent < 1.0
    common = depth > 0
    assert common.mean(axis=(1, 2))[15:].min() > 0.5 and not common[:15].any()
    ratio = np.array([np.median(depth[k][common[k]] / walk.depth_m[k][common[k]]) for k in range(15, 30)])
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.08
    assert found.depth_valid_share == pytest.approx(common.mean())
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == [
        "depth-2.raw",
        "depth.npz",
        "dyn_masks.npz",
        "sigma-2.raw",
    ]
