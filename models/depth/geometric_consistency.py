"""Multi-view consistency of depth maps: each depth is checked against, and averaged with, neighboring frames."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array
from models.depth.motion_stereo import InverseDepth, MapFunction
from models.depth.propagation import propagate
from models.geometry.posed_frames import PosedFrames

ROUNDS, REACH = 2, 3
SIGMAS_APART = 3.0
RELATIVE_APART = 0.02
GUESS_SIGMA = 0.1
MIN_FILLING, MAX_SCATTER = 3, 0.03


def filter_depth(frames: PosedFrames, maps: InverseDepth, map_fn: MapFunction = map) -> InverseDepth:
    """Depth maps filtered by, and averaged with, up to three registered frames on each side.

    A depth that no neighbor confirms becomes invalid; others become the inverse-variance mean of the inliers. An
    invalid depth is filled where three neighbors agree with each other and roughly with the depths nearby.

    Args:
      frames: that the maps belong to.
      maps: their depths.
      map_fn: maps a function over the frames, possibly in parallel.
    """
    for _ in range(ROUNDS):
        known = [
            np.dstack([np.where(valid, depth, 0), np.where(valid, sigma, 0), valid]).astype(np.float32)
            for depth, sigma, valid in zip(maps.inverse_depth, maps.sigma, maps.is_valid, strict=True)
        ]
        found = list(map_fn(functools.partial(_filtered, frames, known), range(len(frames))))
        inverse_depth, sigma, is_valid = (np.stack([one[i] for one in found]) for i in range(3))
        maps = InverseDepth(inverse_depth=inverse_depth, sigma=sigma, is_valid=is_valid)
    return maps


def _filtered(
    frames: PosedFrames, known: list[Float32Array], frame: int
) -> tuple[Float32Array, Float32Array, BoolArray]:
    own, own_sigma, valid = np.moveaxis(known[frame], -1, 0)
    is_own = valid > 0
    guess = propagate(own, is_own)
    depth, sigma = np.where(is_own, own, guess), np.where(is_own, own_sigma, GUESS_SIGMA * guess)
    total = np.where(is_own, 1 / np.maximum(sigma, np.float32(1e-12)) ** 2, 0)
    mean, square = total * depth, total * depth**2
    inliers = np.zeros(depth.shape, np.int32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in _around(frames, frame):
            there, spread = _reprojected(frames, known[other], frame, other, depth)
            near = np.abs(there - depth) < SIGMAS_APART * np.sqrt(spread**2 + sigma**2) + RELATIVE_APART * depth
            near &= spread > 0
            information = np.where(near, 1 / spread**2, 0)
            total += information
            mean += information * there
            square += information * there**2
            inliers += near
        mean = np.where(total > 0, mean / total, 0)
        scatter = np.sqrt(np.maximum(square / total - mean**2, 0))
        # Neighboring frames share poses and texture, so that their errors do not average out.
        sigma = np.where(total > 0, np.sqrt((inliers + is_own) / total), np.inf)
        is_filled = (inliers >= MIN_FILLING) & (scatter < MAX_SCATTER * mean)
    return mean.astype(np.float32), sigma.astype(np.float32), np.where(is_own, inliers > 0, is_filled)


def _around(frames: PosedFrames, frame: int) -> list[int]:
    near = [frame + side * step for step in range(1, REACH + 1) for side in (-1, 1)]
    return [k for k in near if 0 <= k < len(frames) and frames.is_registered[k] and frames.is_registered[frame]]


def _reprojected(
    frames: PosedFrames, layer: Float32Array, frame: int, other: int, inverse_depth: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Inverse depths in `frame` of what `other` sees where these points lie in it, and their sigma; 0 where nothing."""
    columns, rows, _ = frames.project(frame, other, inverse_depth)
    depth, sigma, share = np.moveaxis(cv2.remap(layer, columns, rows, cv2.INTER_LINEAR), -1, 0)
    rotation, translation = frames.relative_pose(frame, other)
    # Along a pixel's ray, depth there over depth here is turned + translation * inverse depth here.
    turned = frames.rotated_rays(rotation)[2]
    rest = 1 - translation[2] * depth
    known = (share > 0.99) & (rest > 0.05) & (turned > 0.05)
    rest = np.where(known, rest, 1)
    return np.where(known, depth * turned / rest, 0), np.where(known, sigma * turned / rest**2, 0)
