"""Refinement of noisy keypoints in reference frames."""

import numpy as np

from models.sfm.reconstruction import Reconstruction
from models.sfm.reference_frames import refine_reference_keypoints
from models.sfm.tracks import Tracks
from native import se3

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])
NOISE_PX = 0.3


def make_reconstruction():
    """Reconstruction from noisy keypoints of a moving, rotating camera; true keypoints and poses."""
    rng = np.random.default_rng(2)
    points = rng.uniform([-3, -2, 3], [3, 2, 9], (300, 3))
    world_from_cam = se3.exp(np.array([[0.3, 0.02, 0.05, 0.01, -0.04, 0.005]]) * np.arange(8)[:, None])
    poses = np.asarray(se3.invert(world_from_cam))
    local = np.stack([se3.act(np.tile(pose, (300, 1)), points) for pose in poses])
    true_px = local[..., :2] / local[..., 2:] * 500 + INTRINSICS_PX[2:]
    made = Reconstruction(Tracks(keypoints_px=true_px + rng.normal(0, NOISE_PX, true_px.shape)), INTRINSICS_PX)
    made.cam_from_world = poses.copy()
    made.is_registered[:] = True
    made.triangulate()
    made.set_median_reference_frames()
    return made, true_px, poses


def center_error(made, poses):
    """Mean error of camera centers in m, at the true scale."""
    found, true = (np.asarray(se3.invert(p))[:, :3] for p in (made.cam_from_world, poses))
    return np.linalg.norm(found * (true * found).sum() / (found * found).sum() - true, axis=1).mean()


def test_reference_keypoints_and_poses_improve():
    made, true_px, poses = make_reconstruction()
    made.bundle_adjust(iterations=20)
    before = center_error(made, poses)
    points = np.flatnonzero(np.isfinite(made.inverse_depth))
    reference = made.reference[points]
    measured = made.keypoints_px[reference, points].copy()
    refine_reference_keypoints(made, refine_focal=False)
    made.bundle_adjust(iterations=20)
    error_before = np.linalg.norm(measured - true_px[reference, points], axis=1)
    error = np.linalg.norm(made.keypoints_px[reference, points] - true_px[reference, points], axis=1)
    assert np.median(error) < 0.7 * np.median(error_before)
    assert center_error(made, poses) < before
    # Keypoints of other frames are measurements, and stay.
    others = np.ones(made.is_observed.shape, bool)
    others[reference, points] = False
    assert np.array_equal(made.keypoints_px[others], make_reconstruction()[0].keypoints_px[others])


def test_points_without_other_observations_stay():
    made, _, _ = make_reconstruction()
    made.is_observed[:, 7] = False
    made.is_observed[made.reference[7], 7] = True
    before = made.keypoints_px[made.reference[7], 7].copy(), made.inverse_depth[7]
    refine_reference_keypoints(made, refine_focal=False)
    assert np.allclose(made.keypoints_px[made.reference[7], 7], before[0], atol=1e-9)
    assert np.isclose(made.inverse_depth[7], before[1])
