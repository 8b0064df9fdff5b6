from __future__ import annotations

import numpy as np

from models.sfm.initial_pair import InitialPair, find_initial_pairs, initialize_mapper
from tests.support.synthetic_tracks import INTRINSICS_PX, make_poses, project_tracks, random_points


def test_the_pair_with_more_parallax_and_tracks_is_better():
    assert InitialPair(0, 5, 20.0, 100).score > InitialPair(0, 5, 10.0, 100).score
    assert InitialPair(0, 5, 20.0, 400).score > InitialPair(0, 5, 20.0, 100).score
    assert InitialPair(0, 5, 90.0, 100).score == InitialPair(0, 5, 30.0, 100).score


def test_a_rotating_camera_has_no_pair():
    tracks = project_tracks(make_poses(10, yaw_deg=1.0), random_points(), 0.2)
    assert find_initial_pairs(tracks, INTRINSICS_PX, 3) == []


def test_a_moving_camera_is_initialized_around_its_best_pair():
    poses = make_poses(12, (0.1, 0.0, 0.0), yaw_deg=0.3)
    tracks = project_tracks(poses, random_points(), 0.2)
    pairs = find_initial_pairs(tracks, INTRINSICS_PX, 3)
    assert [p.score for p in pairs] == sorted((p.score for p in pairs), reverse=True)
    mapper = initialize_mapper(tracks, pairs, [INTRINSICS_PX], False, 1)
    registered = np.flatnonzero(mapper.is_registered)
    assert {pairs[0].first, pairs[0].second} <= set(registered.tolist()) or len(registered) >= 2
    assert mapper.soft_inlier_count() > 0.5 * len(registered) * tracks.keypoints_px.shape[1]
