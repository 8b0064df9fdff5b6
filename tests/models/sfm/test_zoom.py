from __future__ import annotations

import numpy as np
import pytest

from models.sfm.zoom import detect_zoom
from tests.support.synthetic_tracks import INTRINSICS_PX, make_poses, project_tracks, random_points

NUM_FRAMES = 12


@pytest.mark.parametrize("last", [1.5, 1 / 1.5])
def test_a_zoom_is_found_with_its_factor(last):
    zoom = np.geomspace(1, last, NUM_FRAMES)
    found = detect_zoom(project_tracks(make_poses(NUM_FRAMES, yaw_deg=0.1), random_points(), 0.2, zoom), INTRINSICS_PX)
    assert found.factor == pytest.approx(zoom[found.second] / zoom[found.first], rel=0.01)
    assert ("grows" if last > 1 else "shrinks") in found.reason


def test_a_camera_that_moves_forward_does_not_zoom():
    poses = make_poses(NUM_FRAMES, (0.0, 0.0, 0.15))
    assert detect_zoom(project_tracks(poses, random_points(), 0.2), INTRINSICS_PX) is None


def test_a_camera_that_rotates_does_not_zoom():
    assert detect_zoom(project_tracks(make_poses(NUM_FRAMES, yaw_deg=1), random_points(), 0.2), INTRINSICS_PX) is None


def test_too_few_tracks_are_no_zoom():
    assert detect_zoom(project_tracks(make_poses(NUM_FRAMES), random_points(20)), INTRINSICS_PX) is None
