"""Patch refinement improves poses and lengthens tracks."""

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.trajectories import compare_trajectories
from models.sfm.classical import _candidate_intrinsics
from models.sfm.estimate import Intrinsics, PoseRequest
from models.sfm.initial_pair import find_initial_pairs, initialize_mapper
from models.sfm.patch_refinement import refine_observations
from models.sfm.tracks import track_keypoints
from native import se3
from tests.support.films import film

pytestmark = pytest.mark.slow


def ate_percent(mapper, made):
    """Absolute trajectory error after Sim(3) alignment, in % of the trajectory's length."""
    return compare_trajectories(mapper.cam_from_world, mapper.is_registered, made.cam_from_world).ate_percent


def reconstruct(made):
    gray = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in made.frames]
    request = PoseRequest(
        frames=made.frames,
        times_s=made.times_s,
        intrinsics=Intrinsics.of(made.intrinsics_px[0]),
        intrinsics_mode="fix",
    )
    trials, refine = _candidate_intrinsics(request)
    tracks = track_keypoints(gray)
    mapper = initialize_mapper(tracks, find_initial_pairs(tracks, trials[0], 2), trials, refine, 1)
    mapper.register_frames(refine)
    mapper.refine_globally(refine)
    return mapper, gray


def test_poses_improve_and_tracks_lengthen():
    made = film("handheld", seconds=4.0, fps=5.0, size=(480, 270), noise=1.5)
    mapper, gray = reconstruct(made)
    before, num_frames = ate_percent(mapper, made), mapper.is_observed.sum(axis=0)
    is_known = np.isfinite(mapper.inverse_depth)
    refine_observations(mapper, gray)
    mapper.refine_globally(False, rounds=1)
    after = mapper.is_observed.sum(axis=0)
    assert ate_percent(mapper, made) < 0.5 * before
    assert after[is_known].mean() > 1.2 * num_frames[is_known].mean()


def test_median_reference_frames_keep_world_points():
    made = film("orbit", seconds=2.0, fps=5.0, size=(320, 180), noise=0.0)
    mapper, _ = reconstruct(made)
    points = np.flatnonzero(mapper.is_well_triangulated())
    before = mapper.world_points(points)
    mapper.set_median_reference_frames()
    after = mapper.world_points(points)
    # Up to the reprojection errors of the two reference keypoints.
    depth = se3.act(mapper.cam_from_world[mapper.reference[points]], before)[:, 2]
    assert np.median(np.linalg.norm(after - before, axis=1) / depth) < 0.01
    assert (mapper.is_observed[mapper.reference[points], points]).all()
