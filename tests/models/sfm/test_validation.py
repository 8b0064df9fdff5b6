import numpy as np
import pytest

from models.sfm.mapping import IncrementalMapper
from models.sfm.tracks import Tracks
from models.sfm.validation import check_reconstruction
from native import se3

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def make_mapper(step_m, num_frames=10, noise_px=0.2, is_visible=None):
    """A camera that rotates and moves sideways, with 300 points 2 to 8 m away."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-3, -2, 2], [3, 2, 8], (300, 3))
    frames = np.arange(num_frames)[:, None]
    turns = np.concatenate([np.zeros((num_frames, 3)), frames * [0, np.radians(2), 0]], axis=1)
    poses = se3.exp(turns)
    poses[:, 0] += -step_m * frames[:, 0]
    local = np.stack([se3.act(np.tile(pose, (len(points), 1)), points) for pose in poses])
    keypoints_px = local[..., :2] / local[..., 2:] * 500 + INTRINSICS_PX[2:]
    keypoints_px += rng.normal(0, noise_px, keypoints_px.shape)
    if is_visible is not None:
        keypoints_px[~is_visible(num_frames, len(points))] = np.nan
    mapper = IncrementalMapper(Tracks(keypoints_px=keypoints_px), INTRINSICS_PX)
    mapper.cam_from_world = poses
    mapper.is_registered[:] = True
    mapper.triangulate()
    mapper.bundle_adjust(iterations=3)
    return mapper


def test_camera_with_parallax_passes():
    assert check_reconstruction(make_mapper(0.1), 0.3) is None


def test_camera_with_little_parallax_fails():
    assert "hardly translates" in check_reconstruction(make_mapper(0.003), 0.3).reason


def test_frames_without_common_points_fail():
    def in_halves(num_frames, num_points):
        is_visible = np.zeros((num_frames, num_points), bool)
        is_visible[:5, :150] = is_visible[5:, 150:] = True
        return is_visible

    failure = check_reconstruction(make_mapper(0.1, is_visible=in_halves), 0.3)
    assert "frames 4 and 5 are linked by 0 points" in failure.reason and failure.breaks == (4,)


def test_too_few_registered_frames_break_the_clip_at_their_ends():
    mapper = make_mapper(0.1)
    mapper.is_registered[:] = False
    mapper.is_registered[3:6] = True
    failure = check_reconstruction(mapper, 0.3)
    assert f"only 3 of {len(mapper.is_registered)}" in failure.reason and failure.breaks == (2, 5)


def test_frame_without_points_between_linked_frames_passes():
    def but_one(num_frames, num_points):
        return np.arange(num_frames)[:, None] != np.full(num_points, 5)

    assert check_reconstruction(make_mapper(0.1, is_visible=but_one), 0.3) is None


@pytest.mark.parametrize(("reprojection_px", "words"), [(None, "no 3D point"), (3.0, "error is 3.0 px")])
def test_reprojection_errors_fail(reprojection_px, words):
    failure = check_reconstruction(make_mapper(0.1), reprojection_px)
    assert words in failure.reason and failure.breaks == ()
