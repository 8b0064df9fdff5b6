"""Geometric consistency of depth maps: filters and fuses each map with those of neighboring frames."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array
from models.depth.motion_stereo import InverseDepth, MapFunction
from models.depth.propagation import propagate
from models.geometry.posed_frames import PosedFrames

ITERATIONS, MAX_FRAME_OFFSET = 2, 3
MAX_SIGMAS = 3.0
MAX_RELATIVE_ERROR = 0.02
PROPAGATED_RELATIVE_SIGMA = 0.1
MIN_FILL_VIEWS, MAX_FILL_DEVIATION = 3, 0.03


def filter_depth(frames: PosedFrames, maps: InverseDepth, map_fn: MapFunction = map) -> InverseDepth:
    """Depth maps filtered and averaged with up to six neighboring frames, warped by the poses.

    A depth that no neighbor confirms is not valid. A pixel without depth is filled where three neighbors agree with
    each other and with the depth propagated from nearby pixels.

    Args:
      frames: frames that are not registered get no valid depth.
      maps: depth of each frame.
      map_fn: maps a function over frame indices.
    """
    for _ in range(ITERATIONS):
        layers = [
            np.dstack([np.where(valid, depth, 0), np.where(valid, sigma, 0), valid]).astype(np.float32)
            for depth, sigma, valid in zip(maps.inverse_depth, maps.sigma, maps.is_valid, strict=True)
        ]
        fused = list(map_fn(functools.partial(_fuse_frame, frames, layers), range(len(frames))))
        inverse_depth, sigma, is_valid = (np.stack([one[i] for one in fused]) for i in range(3))
        maps = InverseDepth(inverse_depth=inverse_depth, sigma=sigma, is_valid=is_valid)
    return maps


def _fuse_frame(
    frames: PosedFrames, layers: list[Float32Array], frame: int
) -> tuple[Float32Array, Float32Array, BoolArray]:
    own, own_sigma, valid = np.moveaxis(layers[frame], -1, 0)
    is_own = valid > 0
    propagated = propagate(own, is_own)
    depth = np.where(is_own, own, propagated)
    sigma = np.where(is_own, own_sigma, PROPAGATED_RELATIVE_SIGMA * propagated)
    total = np.where(is_own, 1 / np.maximum(sigma, np.float32(1e-12)) ** 2, 0)
    mean, square = total * depth, total * depth**2
    num_consistent = np.zeros(depth.shape, np.int32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in _neighbors(frames, frame):
            warped, warped_sigma = _warp_depth(frames, layers[other], frame, other, depth)
            tolerance = MAX_SIGMAS * np.sqrt(warped_sigma**2 + sigma**2) + MAX_RELATIVE_ERROR * depth
            is_consistent = (np.abs(warped - depth) < tolerance) & (warped_sigma > 0)
            information = np.where(is_consistent, 1 / warped_sigma**2, 0)
            total += information
            mean += information * warped
            square += information * warped**2
            num_consistent += is_consistent
        mean = np.where(total > 0, mean / total, 0)
        deviation = np.sqrt(np.maximum(square / total - mean**2, 0))
        # Neighboring frames share poses and texture: their errors are correlated and do not average out.
        sigma = np.where(total > 0, np.sqrt((num_consistent + is_own) / total), np.inf)
        is_filled = (num_consistent >= MIN_FILL_VIEWS) & (deviation < MAX_FILL_DEVIATION * mean)
    return mean.astype(np.float32), sigma.astype(np.float32), np.where(is_own, num_consistent > 0, is_filled)


def _neighbors(frames: PosedFrames, frame: int) -> list[int]:
    offsets = [sign * step for step in range(1, MAX_FRAME_OFFSET + 1) for sign in (-1, 1)]
    near = [frame + offset for offset in offsets if 0 <= frame + offset < len(frames)]
    return [k for k in near if frames.is_registered[[k, frame]].all()]


def _warp_depth(
    frames: PosedFrames, layer: Float32Array, frame: int, other: int, inverse_depth: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Inverse depth and sigma of `other` warped into `frame`; 0 where unknown."""
    columns, rows, _ = frames.project(frame, other, inverse_depth)
    depth, sigma, share = np.moveaxis(cv2.remap(layer, columns, rows, cv2.INTER_LINEAR), -1, 0)
    rotation, translation = frames.relative_pose(frame, other)
    # Along a pixel's ray z_other / z_frame = ray_z + translation_z * inverse depth in `frame`.
    ray_z = frames.rotated_rays(rotation)[2]
    denominator = 1 - translation[2] * depth
    is_known = (share > 0.99) & (denominator > 0.05) & (ray_z > 0.05)
    denominator = np.where(is_known, denominator, 1)
    return np.where(is_known, depth * ray_z / denominator, 0), np.where(is_known, sigma * ray_z / denominator**2, 0)
