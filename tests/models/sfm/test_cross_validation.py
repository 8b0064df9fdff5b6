from __future__ import annotations

import numpy as np
import pytest

from models.sfm import cross_validation
from models.sfm.cross_validation import CrossValidation, _position_rmse, _scale_changes, cross_validate
from models.sfm.reconstruction import Reconstruction
from models.sfm.self_calibration import SelfCalibration
from models.sfm.tracks import Tracks
from models.sfm.validation import (
    MAX_ERROR_PERCENT,
    check_cross_validation,
    check_predicted_error,
    check_self_calibration,
    check_steps,
    predicted_error,
)
from native import se3

INTRINSICS = np.array([500.0, 500.0, 320.0, 180.0])


def walk(num_frames=20, seed=0):
    """cam_from_world of a camera that walks forward, swaying."""
    time = np.arange(num_frames) / 5
    centers = np.stack([0.2 * np.sin(time), 0.05 * np.sin(3 * time), 0.5 * time], axis=1)
    turns = np.stack([0.02 * np.sin(2 * time), 0.1 * np.sin(time), np.zeros(num_frames)], axis=1)
    return np.asarray(se3.invert(se3.exp(np.concatenate([centers, turns], axis=1))))


def observed(cam_from_world, noise_px=0.1, num_points=300, seed=1):
    """Tracks of random points in front of the cameras."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-4, -2, 3], [4, 2, 14], (num_points, 3))
    fx, fy, cx, cy = INTRINSICS
    keypoints = []
    for pose in cam_from_world:
        x, y, z = np.asarray(se3.act(pose, points)).T
        at = np.stack([fx * x / z + cx, fy * y / z + cy], axis=1) + rng.normal(0, noise_px, (num_points, 2))
        seen = (z > 0.5) & (at > 0).all(axis=1) & (at < [640, 360]).all(axis=1)
        keypoints.append(np.where(seen[:, None], at, np.nan))
    return Tracks(keypoints_px=np.array(keypoints))


def reconstruction(tracks, cam_from_world):
    recon = Reconstruction(tracks, INTRINSICS)
    recon.cam_from_world = np.array(cam_from_world)
    recon.is_registered[:] = True
    return recon


def test_halves_agree_with_exact_poses():
    poses = walk()
    tracks = observed(poses)
    found = cross_validate(reconstruction(tracks, poses), tracks, 1)
    assert found.position_rmse < 0.01
    assert found.scale_change < 0.1
    assert check_cross_validation(found) is None


def test_a_jump_of_scale_is_found_and_named():
    poses = walk()
    tracks = observed(poses)
    centers = np.asarray(se3.invert(poses))
    centers[10:, :3] = centers[9, :3] + 2 * (centers[10:, :3] - centers[9, :3])
    found = cross_validate(reconstruction(tracks, np.asarray(se3.invert(centers))), tracks, 1)
    assert found.scale_change == pytest.approx(1.0, abs=0.15)
    assert abs(found.scale_change_frame - 9) <= 1
    failure = check_cross_validation(found)
    assert failure.breaks == (found.scale_change_frame,)
    assert "scale" in failure.reason


def test_too_few_tracks_confirm_nothing():
    poses = walk()
    tracks = observed(poses, num_points=20)
    assert cross_validate(reconstruction(tracks, poses), tracks, 1) is None
    assert check_cross_validation(None) is not None


def test_another_shape_is_refused():
    found = CrossValidation(position_rmse=0.06, scale_change=0.1, scale_change_frame=5)
    assert "trajectory" in check_cross_validation(found).reason


def test_similar_trajectories_are_equal():
    centers = np.asarray(se3.invert(walk()))[:, :3]
    turned = 3 * centers @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]).T + 5
    assert _position_rmse(turned, centers) < 1e-12
    assert _scale_changes(turned, centers)[1].max() < 1e-12


def test_threads_change_nothing():
    poses = walk()
    tracks = observed(poses)
    recon = reconstruction(tracks, poses)
    assert cross_validate(recon, tracks, 1) == cross_validate(recon, tracks, 2)
    assert cross_validation.NUM_HALVES == 2


def test_an_isolated_jump_is_refused_and_a_push_is_not():
    poses = walk()
    world_from_cam = np.asarray(se3.invert(poses))
    jumped = np.array(world_from_cam)
    jumped[12:, :3] += [1.5, 0, 0]
    recon = reconstruction(observed(poses), np.asarray(se3.invert(jumped)))
    assert check_steps(recon).breaks == (11,)
    pushed = np.array(world_from_cam)
    pushed[10:, :3] += np.outer(np.clip(np.arange(10), 0, 4), [0.3, 0, 0])
    assert check_steps(reconstruction(observed(poses), np.asarray(se3.invert(pushed)))) is None


def test_the_predicted_error_grows_with_each_signal():
    exact = CrossValidation(position_rmse=0.001, scale_change=0.0, scale_change_frame=0)
    vague = CrossValidation(position_rmse=0.02, scale_change=0.0, scale_change_frame=0)
    good = SelfCalibration(focal_change=0.001, position_sigma=1e-4)
    assert predicted_error(exact, good) < MAX_ERROR_PERCENT
    assert check_predicted_error(predicted_error(exact, good)) is None
    worse = [
        predicted_error(vague, good),
        predicted_error(exact, SelfCalibration(focal_change=0.05, position_sigma=1e-4)),
        predicted_error(exact, SelfCalibration(focal_change=0.001, position_sigma=1e-3)),
    ]
    assert min(worse) > 2 * predicted_error(exact, good)
    assert "uncertain" in check_predicted_error(max(worse) + 1).reason


def test_a_zoom_is_refused_and_named():
    assert "focal length" in check_self_calibration(SelfCalibration(focal_change=0.2, position_sigma=1e-4)).reason
    assert check_self_calibration(None) is not None
