"""Points looked for again by their patches: places come out better, and more frames see each point."""

import cv2
import numpy as np

from benchmarks.accuracy.trajectories import compare_trajectories
from models.poses.classical import _trials
from models.poses.estimate import Intrinsics, PoseRequest
from models.poses.initial import best_pairs, start_mapping
from models.poses.reobservation import reobserve
from models.poses.tracks import track_points
from native import se3
from tests.films import film


def centres_off(mapper, made):
    """Root mean square error of the camera centres after similarity alignment, in % of the path."""
    return compare_trajectories(mapper.cam_from_world, mapper.is_posed, made.cam_from_world).ate_percent


def mapped(made):
    gray = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in made.frames]
    request = PoseRequest(
        frames=made.frames,
        times_s=made.times_s,
        intrinsics=Intrinsics.of(made.intrinsics_px[0]),
        intrinsics_mode="fix",
    )
    trials, refine = _trials(request)
    tracks = track_points(gray)
    mapper = start_mapping(tracks, best_pairs(tracks, trials[0], 2), trials, refine, 1)
    mapper.add_all(refine)
    mapper.polish(refine)
    return mapper, gray


def test_poses_get_better_and_tracks_longer():
    made = film("handheld", seconds=4.0, fps=5.0, size=(480, 270), noise=1.5)
    mapper, gray = mapped(made)
    before, seen = centres_off(mapper, made), mapper.is_used.sum(axis=0)
    known = np.isfinite(mapper.inverse_depth)
    reobserve(mapper, gray)
    mapper.polish(False, rounds=1)
    after = mapper.is_used.sum(axis=0)
    assert centres_off(mapper, made) < 0.5 * before
    assert after[known].mean() > 1.2 * seen[known].mean()


def test_anchors_in_the_middle_leave_points_where_they_are():
    made = film("orbit", seconds=2.0, fps=5.0, size=(320, 180), noise=0.0)
    mapper, _ = mapped(made)
    points = np.flatnonzero(mapper.is_near())
    before = mapper.world_points(points)
    mapper.move_anchors()
    after = mapper.world_points(points)
    # Up to how far each point's two observations disagree.
    depth = se3.act(mapper.cam_from_world[mapper.anchor[points]], before)[:, 2]
    assert np.median(np.linalg.norm(after - before, axis=1) / depth) < 0.01
    assert (mapper.is_used[mapper.anchor[points], points]).all()
