"""Whether a changing focal length is found, and whether the covariance predicts the error of camera centers."""

from __future__ import annotations

import numpy as np
import pytest

from models.sfm.reconstruction import Reconstruction
from models.sfm.self_calibration import self_calibrate
from models.sfm.tracks import Tracks
from native import se3

FOCAL = 500.0
INTRINSICS = np.array([FOCAL, FOCAL, 320.0, 180.0])
NUM_FRAMES = 20
TIMES = np.arange(NUM_FRAMES) / 5


def orbit():
    """cam_from_world of a camera that moves sideways around the scene, looking at its center."""
    angles = np.linspace(-0.35, 0.35, NUM_FRAMES)
    zero = np.zeros(NUM_FRAMES)
    turns = se3.exp(np.stack([zero, zero, zero, 0.1 * np.sin(5 * angles), -angles, zero], axis=1))
    centers = np.stack([8 * np.sin(angles), 0.5 * np.sin(4 * angles), 8 - 8 * np.cos(angles)], axis=1)
    world_from_cam = np.concatenate([centers, np.asarray(turns)[:, 3:]], axis=1)
    return np.asarray(se3.invert(world_from_cam))


def reconstruct(cam_from_world, zoom=0.0, noise_px=0.2, num_points=400, seed=0):
    """A reconstruction with exact poses from keypoints whose focal length changes by `exp(zoom * time)`."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-3, -2, 5], [3, 2, 12], (num_points, 3))
    time = np.linspace(-1, 1, NUM_FRAMES)
    keypoints = []
    for pose, t in zip(cam_from_world, time, strict=True):
        x, y, z = np.asarray(se3.act(pose, points)).T
        focal = FOCAL * np.exp(zoom * t)
        at = np.stack([focal * x / z + 320, focal * y / z + 180], axis=1) + rng.normal(0, noise_px, (num_points, 2))
        inside = (at > 0).all(axis=1) & (at < [640, 360]).all(axis=1)
        keypoints.append(np.where(inside[:, None], at, np.nan))
    recon = Reconstruction(Tracks(keypoints_px=np.array(keypoints)), INTRINSICS)
    recon.cam_from_world = np.array(cam_from_world)
    recon.is_registered[:] = True
    recon.set_median_reference_frames()
    recon.triangulate()
    return recon


def test_a_constant_focal_length_does_not_change():
    assert self_calibrate(reconstruct(orbit()), TIMES).focal_change < 0.005


@pytest.mark.parametrize("zoom", [0.08, -0.08])
def test_a_zoom_during_translation_is_measured(zoom):
    found = self_calibrate(reconstruct(orbit(), zoom), TIMES)
    assert found.focal_change == pytest.approx(abs(zoom), rel=0.25)


def test_noise_raises_the_uncertainty_in_proportion():
    low, high = (self_calibrate(reconstruct(orbit(), noise_px=px), TIMES).position_sigma for px in (0.1, 0.4))
    assert high == pytest.approx(4 * low, rel=0.35)


def test_the_covariance_is_the_spread_of_adjusted_centers():
    errors = []
    for seed in range(6):
        recon = reconstruct(orbit(), seed=seed)
        predicted = self_calibrate(recon, TIMES).position_sigma
        for _ in range(4):
            recon.bundle_adjust(iterations=10, optimize_focal=True)
        centers, truth = (np.asarray(se3.invert(p))[:, :3] for p in (recon.cam_from_world, orbit()))
        p, q = centers - centers.mean(axis=0), truth - truth.mean(axis=0)
        u, s, vt = np.linalg.svd(q.T @ p)
        rmse = np.sqrt(np.square(s.sum() / np.square(p).sum() * p @ (u @ vt).T - q).sum(axis=1).mean())
        errors.append(rmse / np.linalg.norm(np.diff(truth, axis=0), axis=1).sum() / predicted)
    # Keypoints of reference frames are held by our bundle adjustment, so that its errors are larger.
    assert 0.5 < np.median(errors) < 4


def test_too_few_frames_or_points_tell_nothing():
    recon = reconstruct(orbit())
    recon.is_registered[3:] = False
    assert self_calibrate(recon, TIMES) is None
    assert self_calibrate(reconstruct(orbit(), num_points=20), TIMES) is None
