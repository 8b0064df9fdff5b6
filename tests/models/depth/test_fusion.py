"""Fusion of monocular depth and motion stereo on a rendered film; networks by doubles."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from media.clip_frames import ClipFrames
from models.annotation import ClipGeometry, annotate_frames
from models.depth.fusion import fuse_depth
from models.depth.mono_depth import FrameDepths
from models.depth.motion_stereo import InverseDepth
from tests.support.films import Film, film

pytestmark = pytest.mark.slow

NOISE = 0.03


def seen(maps: np.ndarray, is_valid: np.ndarray | None = None) -> FrameDepths:
    valid = np.ones(maps.shape, bool) if is_valid is None else is_valid
    maps = np.where(valid, maps, 0).astype(np.float32)
    return FrameDepths(maps=maps, is_valid=valid, focal_px=np.full(len(maps), np.nan))


def networks(made: Film) -> tuple[FrameDepths, FrameDepths]:
    """Output of good networks: own scale and shift per frame, 3 % noise, no sky."""
    rng = np.random.default_rng(0)
    count = len(made.frames)
    noise = 1 + NOISE * rng.standard_normal(made.depth_m.shape)
    known = np.isfinite(made.depth_m) & (made.depth_m > 0)
    depth = np.where(known, made.depth_m, 1)
    scale, shift = rng.uniform(2, 6, (count, 1, 1)), rng.uniform(0, 0.5, (count, 1, 1))
    relative = np.where(known, scale / depth * noise + shift, 0)
    metric = depth * noise * rng.uniform(0.95, 1.05, (count, 1, 1))
    return seen(relative), seen(metric, known)


@cache
def annotated(name: str, kinds: str) -> tuple[Film, ClipGeometry]:
    made = film(name, seconds=2.0)
    frames = ClipFrames(
        rgb=tuple(made.frames), frame=np.arange(len(made.frames)), time_s=made.times_s, clip_size=(320, 180)
    )
    relative, metric = networks(made)
    return made, annotate_frames(
        frames,
        None,
        "estimate",
        relative=relative if "r" in kinds else None,
        metric=metric if "m" in kinds else None,
    )


def errors(made: Film, found: ClipGeometry, among: np.ndarray) -> np.ndarray:
    """Relative errors of valid depths at some pixels, at the best single scale."""
    valid = among & found.is_depth_valid & (made.depth_m > 0)
    ratio = found.depth[valid] / made.depth_m[valid]
    return np.abs(ratio / np.median(ratio) - 1)


@pytest.mark.parametrize("kinds", ["r", "m"])
def test_networks_fill_the_depth_from_motion(kinds):
    (made, alone), (_, joined) = annotated("orbit", ""), annotated("orbit", kinds)
    assert joined.is_depth_valid.mean() > 0.98 > alone.is_depth_valid.mean()
    # Truer than what the networks see, and hardly less true than motion where that knows the depth.
    known = alone.is_depth_valid
    assert errors(made, joined, joined.is_depth_valid).mean() < 0.7 * NOISE
    assert errors(made, joined, known).mean() < 1.25 * errors(made, alone, known).mean()
    np.testing.assert_array_equal(joined.poses.cam_from_world, alone.poses.cam_from_world)
    assert (joined.depth_sigma[joined.is_depth_valid] > 0).all()


def test_a_metric_network_gives_the_unit_in_meters():
    made, found = annotated("orbit", "m")
    valid = found.is_depth_valid
    true_meters = np.median(made.depth_m[valid] / found.depth[valid])
    assert found.meters_per_unit == pytest.approx(true_meters, rel=0.06)
    assert annotated("orbit", "r")[1].meters_per_unit is None


def test_a_camera_that_only_turns_has_depth_in_meters_from_a_metric_network_alone():
    made, found = annotated("Pan Right", "m")
    assert found.poses.motion_kind != "general"
    assert found.meters_per_unit == 1.0
    valid = found.is_depth_valid
    assert np.abs(found.depth[valid] / made.depth_m[valid] - 1).mean() < 0.08


def stereo(inverse_depth: np.ndarray, is_valid: np.ndarray) -> InverseDepth:
    sigma = np.where(is_valid, 0.05 * inverse_depth, np.inf).astype(np.float32)
    return InverseDepth(inverse_depth=inverse_depth.astype(np.float32), sigma=sigma, is_valid=is_valid)


def test_frames_in_which_motion_knows_little_take_the_clips_fit():
    rng = np.random.default_rng(1)
    true = rng.uniform(0.2, 2.0, (4, 40, 60))
    valid = np.ones(true.shape, bool)
    valid[2] = False
    fused = fuse_depth(stereo(np.where(valid, true, 0), valid), valid, seen(3 * true + 0.7), None)
    assert fused.maps.is_valid[2].all()
    np.testing.assert_allclose(fused.maps.inverse_depth[2], true[2], rtol=1e-3)


@pytest.mark.parametrize("problem", ["nothing known", "upside down"])
def test_networks_that_do_not_fit_leave_motions_depth_as_it_is(problem):
    rng = np.random.default_rng(2)
    true = rng.uniform(0.2, 2.0, (3, 40, 60))
    valid = np.full(true.shape, problem == "upside down")
    maps = stereo(np.where(valid, true, 0), valid)
    fused = fuse_depth(maps, valid, seen(5 - 2 * true), None)
    assert fused.maps is maps and fused.meters_per_unit is None


def test_wrong_depths_do_not_rule_the_fit():
    rng = np.random.default_rng(3)
    true = rng.uniform(0.2, 2.0, (2, 40, 60))
    wrong = rng.random(true.shape) < 0.2
    given = np.where(wrong, rng.uniform(0.1, 4.0, true.shape), true)
    valid = np.ones(true.shape, bool)
    fused = fuse_depth(stereo(given, valid), valid, seen(2 * true + 0.3), None)
    assert np.median(np.abs(fused.maps.inverse_depth[wrong] / true[wrong] - 1)) < 0.5
    np.testing.assert_allclose(fused.maps.inverse_depth[~wrong], true[~wrong], rtol=0.02)
