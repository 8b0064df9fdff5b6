from __future__ import annotations

import numpy as np
import pytest

from models.sfm.tracks import track_keypoints
from tests.models.sfm.test_feature_matching import noise_image

SHIFT_PX = np.array([3.0, -2.0])


@pytest.fixture(scope="module")
def frames():
    """Crops of one image that moves by a constant shift."""
    image = noise_image(0)
    starts = [np.array([20, 40]) - k * SHIFT_PX.astype(int) for k in range(6)]
    return [np.ascontiguousarray(image[y : y + 160, x : x + 220]) for x, y in starts]


def test_keypoints_move_with_the_image(frames):
    tracks = track_keypoints(frames)
    steps = np.diff(tracks.keypoints_px, axis=0)
    known = np.isfinite(steps[..., 0])
    assert known.sum() > 200
    np.testing.assert_allclose(np.median(steps[known], axis=0), SHIFT_PX, atol=0.05)
    assert np.mean(np.linalg.norm(steps[known] - SHIFT_PX, axis=1) < 0.3) > 0.97


def test_correspondences_are_the_common_tracks(frames):
    tracks = track_keypoints(frames)
    matches = tracks.correspondences(np.array([0, 2]), np.array([3, 5]))
    common = (tracks.is_tracked[[0, 2]] & tracks.is_tracked[[3, 5]]).sum(axis=1)
    assert matches.is_common.sum(axis=1).tolist() == common.tolist()
    moved = (matches.target - matches.source)[matches.is_common]
    np.testing.assert_allclose(np.median(moved, axis=0), 3 * SHIFT_PX, atol=0.1)


def test_flat_frames_have_no_tracks():
    assert track_keypoints([np.full((90, 160), 50, np.uint8)] * 3).keypoints_px.shape[1] == 0
