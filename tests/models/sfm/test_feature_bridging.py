import cv2
import numpy as np
import pytest

from models.sfm.feature_bridging import bridge_weak_links
from models.sfm.tracks import Tracks, track_keypoints
from native import se3
from tests.support.films import film

pytestmark = pytest.mark.slow

LOST = 4


@pytest.fixture(scope="module")
def made():
    return film("handheld", seconds=2.0, fps=5.0, size=(480, 270), noise=1.5)


@pytest.fixture(scope="module")
def gray(made):
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in made.frames]


def split_tracks(tracks, frame):
    """The tracks, each split in two at a frame without keypoints."""
    before, after = tracks.keypoints_px.copy(), tracks.keypoints_px.copy()
    before[frame:] = after[: frame + 1] = np.nan
    return Tracks(keypoints_px=np.concatenate([before, after], axis=1))


def test_tracks_without_weak_links_are_unchanged(gray):
    tracks = track_keypoints(gray)
    assert bridge_weak_links(tracks, gray) is tracks


def test_features_bridge_a_blurred_frame(made, gray):
    blurred = [cv2.blur(g, (80, 80)) if k == LOST else g for k, g in enumerate(gray)]
    tracks = bridge_weak_links(split_tracks(track_keypoints(gray), LOST), blurred)
    tracked = tracks.is_tracked
    across = np.flatnonzero(tracked[LOST - 1] & tracked[LOST + 1])
    assert len(across) > 50
    # Against the ground-truth reprojection.
    fx, fy, cx, cy = made.intrinsics_px[0]
    at = tracks.keypoints_px[LOST - 1, across]
    x, y = np.rint(at).astype(int).T
    depth = made.depth_m[LOST - 1][y, x].astype(float)
    local = np.stack([(at[:, 0] - cx) / fx, (at[:, 1] - cy) / fy, np.ones(len(at))], axis=1) * depth[:, None]
    step = se3.compose(made.cam_from_world[LOST + 1], se3.invert(made.cam_from_world[LOST - 1]))
    moved = se3.act(np.tile(step, (len(local), 1)), local)
    expected = moved[:, :2] / moved[:, 2:] * [fx, fy] + [cx, cy]
    error = np.linalg.norm(expected - tracks.keypoints_px[LOST + 1, across], axis=1)
    assert np.median(error) < 1
    assert np.mean(error < 4) > 0.9


def test_revisits_close_loops(gray):
    there_and_back = [*gray, *gray[::-1]]
    tracks = split_tracks(track_keypoints(there_and_back), LOST)
    tracked = bridge_weak_links(tracks, there_and_back).is_tracked
    is_loop = tracked[:LOST] & tracked[::-1][:LOST]
    assert is_loop.sum(axis=1).max() > 100


def test_unrelated_images_are_not_bridged(gray):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, g.shape).astype(np.uint8) for g in gray[LOST:]]
    tracks = bridge_weak_links(split_tracks(track_keypoints(gray), LOST), gray[:LOST] + noise)
    tracked = tracks.is_tracked
    assert not (tracked[:LOST].any(axis=0) & tracked[LOST:].any(axis=0)).any()
