"""What is hidden in one frame and seen in others."""

from __future__ import annotations

import numpy as np

from models.depth.motion_stereo import InverseDepth
from models.depth.occlusion import render_neighbor_surface
from models.geometry.posed_frames import PosedFrames

WALL_M, NUM = 5.0, 5


def wall_seen_by(valid):
    """Cameras side by side before a wall, and where each knows its depth."""
    poses = np.zeros((NUM, 7))
    poses[:, 0], poses[:, 6] = np.linspace(-0.1, 0.1, NUM), 1
    gray = [np.zeros((40, 60), np.uint8)] * NUM
    frames = PosedFrames(gray, poses, np.array([50.0, 50.0, 29.5, 19.5]))
    depth = np.where(valid, np.float32(1 / WALL_M), 0).astype(np.float32)
    return frames, InverseDepth(inverse_depth=depth, sigma=depth / 100, is_valid=valid)


def test_a_frame_without_depth_gets_the_surface_of_the_others():
    valid = np.ones((NUM, 40, 60), bool)
    valid[2] = False
    found = render_neighbor_surface(*wall_seen_by(valid), 2)
    assert np.allclose(found[4:-4, 4:-4], 1 / WALL_M)


def test_one_witness_is_none():
    valid = np.zeros((NUM, 40, 60), bool)
    valid[1] = True
    assert not render_neighbor_surface(*wall_seen_by(valid), 2).any()


def test_the_nearer_of_two_surfaces_counts_and_keeps_from_its_edge():
    frames, maps = wall_seen_by(np.ones((NUM, 40, 60), bool))
    maps.inverse_depth[:, 10:30, 15:45] = 1 / 2.0
    found = render_neighbor_surface(frames, maps, 2)
    assert np.allclose(found[16:24, 24:36], 1 / 2.0)
    assert np.allclose(found[:, :10][4:-4, 4:], 1 / WALL_M)


def test_frames_without_a_pose_see_nothing():
    frames, maps = wall_seen_by(np.ones((NUM, 40, 60), bool))
    blind = PosedFrames(frames.gray, np.full((NUM, 7), np.nan), frames.intrinsics_px)
    assert not render_neighbor_surface(blind, maps, 2).any()
