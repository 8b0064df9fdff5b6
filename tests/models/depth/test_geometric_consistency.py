"""Depth maps that agree between frames, on a slanted plane with exact truth."""

from __future__ import annotations

import numpy as np
import pytest

from models.depth.geometric_consistency import filter_depth
from models.depth.motion_stereo import InverseDepth, inlier_mean
from models.depth.sparse_prior import sparse_inverse_depth
from models.geometry.posed_frames import PosedFrames

SIZE = (64, 48)
INTRINSICS = np.array([60.0, 60.0, 31.5, 23.5])


def frames(count: int) -> PosedFrames:
    """A camera that moves to the right, a tenth of a unit a frame."""
    poses = np.tile([0.0, 0, 0, 0, 0, 0, 1], (count, 1))
    poses[:, 0] = -0.1 * np.arange(count)
    return PosedFrames([np.zeros(SIZE[::-1], np.uint8)] * count, poses, INTRINSICS)


def plane(posed: PosedFrames) -> np.ndarray:
    """Inverse depth of the plane z = 4 + x / 2 in each frame."""
    x = (posed.columns - INTRINSICS[2]) / INTRINSICS[0]
    return np.stack([(1 - 0.5 * x) / (4 + 0.5 * center[0]) for center in posed.centers]).astype(np.float32)


def maps(inverse_depth: np.ndarray, share: float = 0.02) -> InverseDepth:
    valid = inverse_depth > 0
    return InverseDepth(
        inverse_depth=inverse_depth,
        sigma=np.where(valid, share * inverse_depth, np.inf).astype(np.float32),
        is_valid=valid,
    )


def test_noise_is_averaged_over_frames_and_no_bias_comes_in():
    posed = frames(9)
    true = plane(posed)
    noisy = (true * (1 + 0.02 * np.random.default_rng(0).standard_normal(true.shape))).astype(np.float32)
    found = filter_depth(posed, maps(noisy))
    middle = np.s_[4, 4:-4, 12:-12]
    error = found.inverse_depth[middle] / true[middle] - 1
    assert found.is_valid[middle].all()
    assert error.std() < 0.5 * (noisy[middle] / true[middle] - 1).std()
    assert abs(error.mean()) < 0.002


BLOCK = np.s_[3, 20:28, 28:36]


def test_what_no_other_frame_confirms_is_what_three_of_them_agree_on():
    posed = frames(7)
    true = plane(posed)
    wrong = true.copy()
    wrong[BLOCK] *= 2
    found = filter_depth(posed, maps(wrong))
    assert found.is_valid[BLOCK].all()
    np.testing.assert_allclose(found.inverse_depth[BLOCK], true[BLOCK], rtol=0.02)


def test_what_few_frames_see_is_not_filled():
    posed = frames(5)
    wrong = plane(posed)
    wrong[BLOCK] *= 2
    wrong[[0, 1]] = 0
    found = filter_depth(posed, maps(wrong))
    assert not found.is_valid[BLOCK].any()
    assert found.is_valid[3, 4:16, 12:-12].all()


def test_depths_are_the_same_whoever_goes_over_the_frames():
    posed = frames(5)
    given = maps(plane(posed))
    one, other = (
        filter_depth(posed, given),
        filter_depth(posed, given, lambda f, k: [f(i) for i in k]),
    )
    np.testing.assert_array_equal(one.inverse_depth, other.inverse_depth)


def test_observations_that_contradict_the_surest_do_not_count():
    depths = np.array([1.0, 1.01, 2.0], np.float32).reshape(3, 1, 1)
    inverse_variances = np.array([1e4, 1e4, 5e3], np.float32).reshape(3, 1, 1)
    mean, sigma = inlier_mean(depths, inverse_variances)
    assert mean.item() == pytest.approx(1.005)
    assert sigma.item() == pytest.approx(0.01 / np.sqrt(2), rel=1e-4)
    nothing = inlier_mean(depths, 0 * inverse_variances)
    assert (nothing[0].item(), nothing[1].item()) == (0, np.inf)


def test_sparse_points_give_a_guess_everywhere():
    posed = frames(2)
    points = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 9)), -1).reshape(-1, 2)
    points = np.column_stack([points, np.where(points[:, 0] < 0, 2.0, 4.0)])
    guess = sparse_inverse_depth(posed, points)
    assert guess.shape == posed.shape and (guess > 0).all()
    assert guess[0, 24, 18] == pytest.approx(0.5, rel=0.1)
    assert guess[0, 24, 60] == pytest.approx(0.25, rel=0.1)
    assert not sparse_inverse_depth(posed, np.array([[0.0, 0, -1]])).any()
