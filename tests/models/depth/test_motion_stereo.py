"""Depth from the flow between two frames, and how sure it is."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest

from models.depth.motion_stereo import triangulate
from models.flow.dis import FlowCache
from models.geometry.posed_frames import PosedFrames
from native import se3
from tests.support.films import film


@cache
def judged(tilt_rad: float):
    """Errors of inverse depths over their sigma, for two frames, one with a wrong pose."""
    made = film("Truck Right", seconds=0.4)
    gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in made.frames]
    poses = made.cam_from_world.copy()
    poses[1] = se3.compose(se3.exp(np.array([0, 0, 0, tilt_rad, 0, tilt_rad])), poses[1])
    frames = PosedFrames(gray, poses, made.intrinsics_px[0])
    flows = FlowCache(gray, lambda source, target: frames.rigid_flow(source, target, np.float32(0.2)))
    depth, information = triangulate(frames, flows, 0, 1)
    known = information > 0
    assert known.mean() > 0.5
    return (depth - 1 / made.depth_m[0])[known] * np.sqrt(information[known]), 1 / np.sqrt(information[known])


@pytest.mark.slow
def test_errors_are_within_sigma_about_as_often_as_normal_ones():
    assert 0.5 < (np.abs(judged(0.0)[0]) < 1).mean() < 0.95


def test_depth_is_less_sure_where_poses_are_wrong():
    assert (np.abs(judged(0.001)[0]) < 1).mean() > 0.5
    assert np.median(judged(0.001)[1]) > 2 * np.median(judged(0.0)[1])
