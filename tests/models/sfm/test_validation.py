import numpy as np
import pytest

from models.sfm.mapping import IncrementalMapper
from models.sfm.tracks import Tracks
from models.sfm.validation import check_reconstruction
from native import se3

INTRINSICS_PX = np.array([500.0, 500.0, 320.0, 240.0])


def map_of(step_m, num_frames=10, noise_px=0.2, sees=None):
    """A camera that turns by 2 degrees a frame and moves sideways, and 300 points 2 to 8 m away."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-3, -2, 2], [3, 2, 8], (300, 3))
    frames = np.arange(num_frames)[:, None]
    turns = np.concatenate([np.zeros((num_frames, 3)), frames * [0, np.radians(2), 0]], axis=1)
    poses = se3.exp(turns)
    poses[:, 0] += -step_m * frames[:, 0]
    local = np.stack([se3.act(np.tile(pose, (len(points), 1)), points) for pose in poses])
    position = local[..., :2] / local[..., 2:] * 500 + INTRINSICS_PX[2:]
    position += rng.normal(0, noise_px, position.shape)
    if sees is not None:
        position[~sees(num_frames, len(points))] = np.nan
    mapper = IncrementalMapper(Tracks(keypoints_px=position), INTRINSICS_PX)
    mapper.cam_from_world = poses
    mapper.is_registered[:] = True
    mapper.triangulate()
    mapper.bundle_adjust(iterations=3)
    return mapper


def test_a_camera_that_leaves_its_place_is_not_doubted():
    assert check_reconstruction(map_of(0.1), 0.3) is None


def test_a_camera_that_hardly_leaves_its_place_is_doubted():
    assert "hardly leaves its place" in check_reconstruction(map_of(0.003), 0.3).reason


def test_frames_that_no_point_joins_are_doubted():
    def in_halves(num_frames, num_points):
        sees = np.zeros((num_frames, num_points), bool)
        sees[:5, :150] = sees[5:, 150:] = True
        return sees

    failure = check_reconstruction(map_of(0.1, sees=in_halves), 0.3)
    assert "frames 4 and 5 are linked by 0 points" in failure.reason and failure.breaks == (4,)


def test_where_most_frames_are_not_placed_the_ends_of_those_that_are_break_the_clip():
    mapper = map_of(0.1)
    mapper.is_registered[:] = False
    mapper.is_registered[3:6] = True
    failure = check_reconstruction(mapper, 0.3)
    assert f"only 3 of {len(mapper.is_registered)}" in failure.reason and failure.breaks == (2, 5)


def test_a_frame_that_sees_nothing_is_no_doubt_where_points_are_seen_on_both_sides():
    def but_one(num_frames, num_points):
        return np.arange(num_frames)[:, None] != np.full(num_points, 5)

    assert check_reconstruction(map_of(0.1, sees=but_one), 0.3) is None


@pytest.mark.parametrize(("reprojection_px", "words"), [(None, "no point is seen"), (3.0, "off by 3.0 px")])
def test_errors_of_the_points_are_doubted(reprojection_px, words):
    failure = check_reconstruction(map_of(0.1), reprojection_px)
    assert words in failure.reason and failure.breaks == ()
