"""Steps of incremental mapping, on points with ground truth."""

import numpy as np

from models.sfm.mapping import IncrementalMapper
from models.sfm.reconstruction import Reconstruction
from models.sfm.tracks import Tracks
from native import se3

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def make_reconstruction(num_points=200):
    """Three frames, moving right by 0.5 m each; the last is not registered."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-3, -2, 3], [3, 2, 9], (num_points, 3))
    poses = np.tile([0, 0, 0, 0, 0, 0, 1.0], (3, 1))
    poses[:, 0] = -0.5 * np.arange(3)
    local = np.stack([se3.act(np.tile(pose, (num_points, 1)), points) for pose in poses])
    position = local[..., :2] / local[..., 2:] * 500 + INTRINSICS_PX[2:] + rng.normal(0, 0.1, (3, num_points, 2))
    made = Reconstruction(Tracks(keypoints_px=position), INTRINSICS_PX)
    made.cam_from_world = poses.copy()
    made.is_registered[:2] = True
    made.triangulate()
    return made, poses[2]


def test_uncertain_depths_do_not_bias_a_pose():
    made, true = make_reconstruction()
    # Far too near, with a large sigma: fixed at these values, they would bias the pose.
    made.inverse_depth[50:] *= 2
    made.depth_sigma[50:] = made.inverse_depth[50:] / 1.5
    before = made.inverse_depth.copy()
    made.cam_from_world[2, 0] += 0.2
    made.is_registered[2] = True
    made.refine_pose(2)
    assert np.abs(made.cam_from_world[2, :3] - true[:3]).max() < 0.02
    assert np.array_equal(made.inverse_depth, before)


def test_observations_are_weighted():
    made, true = make_reconstruction()
    made.is_registered[2] = True
    made.cam_from_world[2] = true
    made.keypoints_px[2, ::2] += 0.8
    # So large that only the weights separate inliers from outliers.
    made.loss_scale_px = 100.0
    errors = []
    for weight in (1.0, 0.01):
        made.weight[2, ::2] = weight
        made.bundle_adjust(free_frames=np.array([2]), optimize_points=False)
        errors.append(np.abs(made.residuals_px().reshape(2, -1)[1, 1::2]).mean())
    assert errors[1] < 0.5 * errors[0]


def test_frames_with_few_points_are_retriangulated():
    made, true = make_reconstruction()
    mapper = IncrementalMapper(Tracks(keypoints_px=made.keypoints_px), INTRINSICS_PX)
    mapper.cam_from_world = np.array([*made.cam_from_world[:2], true])
    mapper.is_registered[:] = True
    mapper.triangulate()
    depths = mapper.inverse_depth.copy()
    # A hundred points have observations in the first two frames, and none in the last one.
    mapper.is_observed[2, :100] = False
    mapper.inverse_depth[100:] = np.nan
    mapper.is_observed[:, 150:] = False
    mapper.retriangulate_weak_frames()
    assert np.array_equal(mapper.inverse_depth[:100], depths[:100], equal_nan=True)
    assert np.isfinite(mapper.inverse_depth[100:150]).sum() > 40
    assert np.isnan(mapper.inverse_depth[150:]).all()
    mapper.inverse_depth[140:] = np.nan
    mapper.retriangulate_weak_frames()
    assert np.isnan(mapper.inverse_depth[140:]).all()
