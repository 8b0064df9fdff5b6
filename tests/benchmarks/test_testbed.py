"""Rendered clips of the test bed: reproducible bytes, exact truth, a measured run."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.clip_results import ClipResult, measure_clip, scale_change_percent
from benchmarks.accuracy.sequences import load_sequence
from benchmarks.accuracy.tails import distribution, error_table, print_tables, trust_table, write_csv
from benchmarks.accuracy.trajectories import invert, to_matrix
from benchmarks.testbed.camera_motions import MOTIONS
from benchmarks.testbed.clips import RenderedClip, make_clip, make_plan, make_world
from benchmarks.testbed.files import write_clip
from benchmarks.testbed.raster import SKY, Camera, Quads, rasterize
from benchmarks.testbed.scenes import SCENES

SIZE = (160, 90)


@pytest.fixture(scope="module")
def clip() -> RenderedClip:
    """A still room seen by a hand-held camera, without lens distortion or rolling shutter."""
    return make_clip(16, size=(320, 180), seconds=2.0)


def camera_of(plan, motion, time_s: float, *, readout_s: float = 0.0) -> Camera:
    offsets = (np.arange(SIZE[1]) / (SIZE[1] - 1) - 0.5) * readout_s if readout_s else np.zeros(1)
    centers, rotations = motion.poses(time_s + offsets)
    focal = SIZE[0] * plan.focal_mm / 36
    return Camera(size=SIZE, focal_px=focal, k1=plan.k1, centers=centers, world_from_cam=rotations)


def cast_ray(quads: Quads, origin: np.ndarray, ray: np.ndarray, cutouts: np.ndarray) -> float:
    """Depth at which a ray meets the nearest quad; infinite if none."""
    best = np.inf
    for k in range(len(quads.center)):
        normal = np.cross(quads.u[k], quads.v[k])
        if quads.closed[k] and normal @ ray >= 0:
            continue
        try:
            s, t, minus_z = np.linalg.solve(np.stack([quads.u[k], quads.v[k], ray], 1), origin - quads.center[k])
        except np.linalg.LinAlgError:
            continue
        if max(abs(s), abs(t)) <= 1 and 0 < -minus_z < best:
            side = cutouts.shape[1]
            row, column = (min(int((x + 1) * side / 2), side - 1) for x in (t, s))
            if quads.cutout[k] < 0 or cutouts[quads.cutout[k], row, column]:
                best = -minus_z
    return best


@pytest.mark.parametrize("seed", [0, 6, 8, 23])
def test_depth_is_where_rays_meet_surfaces(seed: int) -> None:
    plan = make_plan(seed)
    scene, motion = make_world(plan)
    rng = np.random.default_rng(seed)
    cutouts = rng.random((4, 64, 64)) < 0.5
    camera = camera_of(plan, motion, 1.3, readout_s=0.02)
    quads = scene.at(1.3)
    seen = rasterize(quads, camera, np.kron(cutouts, np.ones((8, 8))).astype(bool))
    wrong = 0
    for _ in range(40):
        x, y = rng.integers(0, SIZE)
        point = np.array([x, y]) - (np.array(SIZE) - 1) / 2
        ray = point / camera.focal_px
        for _ in range(50):
            ray = point / camera.focal_px / (1 + plan.k1 * (ray @ ray))
        depth = cast_ray(quads, camera.centers[y], camera.world_from_cam[y] @ [*ray, 1], cutouts)
        found = 1 / seen.hits[2, y, x] if seen.quad[y, x] != SKY else np.inf
        # Beyond 100 km the renderer sees the sky; edges may fall to either side.
        wrong += not (np.isclose(found, depth, rtol=1e-3) or (depth > 1e5 and np.isinf(found)))
    assert wrong <= 1


def test_frames_carried_by_depth_and_poses_match(clip: RenderedClip) -> None:
    first, second = 0, 4
    world_from_cam = to_matrix(invert(clip.cam_from_world))
    fx, fy, cx, cy = clip.intrinsics_px[first]
    depth = clip.depth_m[first].astype(np.float64)
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    points = np.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth, np.ones_like(depth)], -1)
    moved = points @ (np.linalg.inv(world_from_cam[second]) @ world_from_cam[first]).T
    at = np.stack([fx * moved[..., 0] / moved[..., 2] + cx, fy * moved[..., 1] / moved[..., 2] + cy], -1)
    inside = (at >= 1).all(-1) & (at <= np.array(depth.shape[::-1]) - 2).all(-1)
    true = cv2.remap(clip.depth_m[second], at.astype(np.float32), None, cv2.INTER_LINEAR)
    visible = inside & (np.abs(true / moved[..., 2] - 1) < 0.01)
    assert np.linalg.norm(at - np.stack([u, v], -1), axis=-1)[inside].mean() > 3
    assert visible.sum() > 0.85 * inside.sum()
    smooth = [cv2.GaussianBlur(f, None, 1.0).astype(np.float32).mean(-1) for f in clip.frames]
    carried = cv2.remap(smooth[second], at.astype(np.float32), None, cv2.INTER_LINEAR)
    error = np.abs(carried - smooth[first])[visible]
    still = np.abs(smooth[second] - smooth[first])[visible]
    assert np.median(error) < 1.5
    assert error.mean() < 0.4 * still.mean()


def test_equal_seeds_give_equal_bytes(tmp_path) -> None:
    folders = [write_clip(make_clip(5, size=SIZE, seconds=0.6), tmp_path / name) for name in "ab"]
    files = [sorted(p for p in folder.rglob("*") if p.is_file()) for folder in folders]
    assert [p.name for p in files[0]] == [p.name for p in files[1]] and len(files[0]) >= 10
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_written_clips_are_sequences(clip: RenderedClip, tmp_path) -> None:
    sequence = load_sequence(write_clip(clip, tmp_path))
    step = clip.plan.fps // 5
    np.testing.assert_allclose(sequence.cam_from_world, clip.cam_from_world[::step], atol=1e-6)
    assert len(sequence.frames) == len(sequence.depth_m) == len(clip.depth_m)
    np.testing.assert_allclose(sequence.depth_m[1], clip.depth_m[step], atol=6e-4)
    assert sequence.moving is not None
    difference = sequence.frames[2].astype(float) - clip.frames[2 * step]
    assert np.abs(difference).mean() < 8


def test_both_halves_of_the_seeds_have_all_scenes_and_motions() -> None:
    plans = [make_plan(seed) for seed in range(300)]
    for parity in (0, 1):
        half = [p for p in plans if p.seed % 2 == parity]
        pairs = Counter((p.scene, p.motion) for p in half)
        assert len(pairs) == len(SCENES) * len(MOTIONS)
        assert min(p.focal_mm for p in half) < 24 and max(p.focal_mm for p in half) > 90
        assert {p.bit_rate for p in half} == {250_000, 700_000, 2_500_000}


def test_moving_pixels_are_those_that_bodies_cover() -> None:
    seed = next(s for s in range(400) if make_plan(s).moving_share > 0.4 and make_plan(s).scene == "room")
    clip = make_clip(seed, size=SIZE, seconds=0.4)
    assert np.mean([m.mean() for m in clip.moving.values()]) > 0.1
    still = next(s for s in range(400) if make_plan(s).moving_share == 0)
    assert not any(m.any() for m in make_clip(still, size=SIZE, seconds=0.4).moving.values())


def test_scale_change_is_that_of_thirds() -> None:
    truth = np.zeros((31, 7))
    truth[:, 0], truth[:, 6] = np.arange(31), 1
    found = truth.copy()
    found[20:, 0] = found[20, 0] + 1.5 * np.arange(11)
    assert scale_change_percent(found, truth, np.ones(31, bool)) == pytest.approx(50)
    assert scale_change_percent(truth, truth, np.ones(31, bool)) == pytest.approx(0)
    assert np.isinf(scale_change_percent(found, truth, np.zeros(31, bool)))


def test_distributions_take_failures_as_the_largest() -> None:
    assert distribution([1.0, 2.0, 3.0, np.inf]) == [2.5, 2.0, np.inf, np.inf]
    assert distribution([2.0, np.nan])[:2] == [2.0, 2.0]


def test_measures_clips_by_the_users_own_path(tmp_path, capsys) -> None:
    # Two seconds are too short for a small predicted error.
    good = make_clip(144, size=(320, 180), seconds=4.0)
    folders = [write_clip(good, tmp_path), write_clip(make_clip(21, size=SIZE, seconds=1.6), tmp_path)]
    results: list[ClipResult] = [measure_clip(folder, "ours") for folder in folders]
    assert [r.frames for r in results] == [20, 8]
    assert results[0].pose_ok and results[0].registered == 1 and results[0].ate_percent < 3
    assert results[0].depth_abs_rel_percent < 25
    assert "| ours | all | 2 |" in error_table(results) and "| ours | 2 |" in trust_table(results)
    print_tables(results)
    assert "Even seeds" in capsys.readouterr().out
    write_csv(tmp_path / "rows.csv", results)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3
