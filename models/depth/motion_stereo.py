"""Motion stereo: depth of each frame triangulated from dense optical flow and known camera poses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import BoolArray, Float32Array
from models.flow.dis import FlowCache
from models.geometry.posed_frames import MIN_DEPTH_RATIO, PosedFrames

MapFunction = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""Signature of the built-in `map` and of `ThreadPoolExecutor.map`."""

TARGET_PARALLAX_PX = 10.0
MIN_PARALLAX_PX = 1.0
MAX_FRAME_OFFSET = 12
MAX_FORWARD_BACKWARD_PX = 1.5
MAX_EPIPOLAR_PX = 0.75
# Standard deviation of the flow along the epipolar line: a floor, and factors of the median epipolar error and of the
# forward-backward error. Measured on real and rendered sequences with ground truth depth.
MIN_FLOW_SIGMA_PX, SIGMA_PER_EPIPOLAR_ERROR, SIGMA_PER_FORWARD_BACKWARD = 0.03, 1.5, 0.85
SIGMA_PER_MAD = 1.4826
MAX_RELATIVE_SIGMA = 0.12
MAX_SIGMAS = 3.0
MAX_RELATIVE_ERROR = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseDepth:
    """Inverse depth maps of a clip's frames, in the unit of the poses.

    Attributes:
      inverse_depth: (n, h, w) float32, 1 / z; 0 where unknown.
      sigma: (n, h, w) float32, standard deviation of the inverse depth; infinite where unknown.
      is_valid: (n, h, w) bool: known, consistent between frames and well conditioned.
    """

    inverse_depth: Float32Array
    sigma: Float32Array
    is_valid: BoolArray


def estimate_depth(
    frames: PosedFrames, flows: FlowCache, scene_inverse_depth: float, map_fn: MapFunction = map
) -> InverseDepth:
    """Depth of each registered frame by two-view triangulation; other frames get none.

    Each frame is triangulated with an earlier and a later one at the wanted parallax. Pixels that fail forward-backward
    consistency, or whose flow leaves the epipolar line, are left out.

    Args:
      frames: at the size of the maps.
      flows: between `frames`.
      scene_inverse_depth: median inverse depth of the scene, from which the parallax of two frames is predicted.
      map_fn: maps a function over the frames, possibly in parallel.
    """
    pairs = _select_pairs(frames, scene_inverse_depth)
    found = list(map_fn(lambda k: _frame_depth(frames, flows, k, pairs[k]), range(len(frames))))
    inverse_depth, sigma = (np.stack([maps[i] for maps in found]) for i in range(2))
    is_valid = (inverse_depth > 0) & (sigma < MAX_RELATIVE_SIGMA * np.maximum(inverse_depth, scene_inverse_depth / 4))
    return InverseDepth(inverse_depth=inverse_depth, sigma=sigma, is_valid=is_valid)


def _select_pairs(frames: PosedFrames, scene_inverse_depth: float) -> list[list[int]]:
    """Second views per frame: the nearest with enough parallax on each side, and reverse."""
    focal = float(frames.intrinsics_px[:2].mean())
    pairs: list[set[int]] = [set() for _ in frames.gray]
    for frame in np.flatnonzero(frames.is_registered).tolist():
        for side in (-1, 1):
            others = [frame + side * k for k in range(1, MAX_FRAME_OFFSET + 1)]
            others = [o for o in others if 0 <= o < len(frames) and frames.is_registered[o]]
            if not others:
                continue
            baseline = np.linalg.norm(frames.centers[others] - frames.centers[frame], axis=1)
            parallax = focal * scene_inverse_depth * baseline
            reached = np.flatnonzero(parallax >= TARGET_PARALLAX_PX)
            best = int(reached[0]) if len(reached) else int(parallax.argmax())
            if parallax[best] >= MIN_PARALLAX_PX:
                pairs[frame].add(others[best])
                pairs[others[best]].add(frame)
    return [sorted(others) for others in pairs]


def _frame_depth(
    frames: PosedFrames, flows: FlowCache, frame: int, others: list[int]
) -> tuple[Float32Array, Float32Array]:
    """Inverse depth of one frame and its standard deviation; 0 and infinity where unknown."""
    shape = frames.shape[1:]
    if not others:
        return np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    depths, inverse_variances = zip(*(triangulate(frames, flows, frame, other) for other in others), strict=True)
    return inlier_mean(np.stack(depths), np.stack(inverse_variances))


def triangulate(frames: PosedFrames, flows: FlowCache, source: int, target: int) -> tuple[Float32Array, Float32Array]:
    """Inverse depth of a frame's pixels, and its inverse variance.

    By linear triangulation along epipolar lines.

    The epipolar error, across the lines, also estimates the error along them, which the depth inherits.

    Returns:
      (h, w) inverse depth, at least 0, and (h, w) inverse variance: 0 where the flow fails forward-backward consistency
      or the epipolar constraint, and for points behind a camera.
    """
    flow = flows.flow(source, target)
    fx, fy, cx, cy = (np.float32(v) for v in frames.intrinsics_px)
    rotation, translation = frames.relative_pose(source, target)
    to_x, to_y = frames.columns + flow[..., 0], frames.rows + flow[..., 1]
    forward_backward = flows.forward_backward_px(source, target)
    is_consistent = forward_backward < MAX_FORWARD_BACKWARD_PX
    rx, ry, rz = frames.rotated_rays(rotation)
    u, v = (to_x - cx) / fx, (to_y - cy) / fy
    slope_u, slope_v = fx * (translation[0] - u * translation[2]), fy * (translation[1] - v * translation[2])
    offset_u, offset_v = fx * (u * rz - rx), fy * (v * rz - ry)
    information = slope_u**2 + slope_v**2 + np.float32(1e-12)
    depth = (slope_u * offset_u + slope_v * offset_v) / information
    z_ratio = np.maximum(rz + translation[2] * depth, MIN_DEPTH_RATIO)
    epipolar_error = np.abs(slope_u * offset_v - slope_v * offset_u) / np.sqrt(information) / z_ratio
    deviation = SIGMA_PER_MAD * np.median(epipolar_error[is_consistent]) if is_consistent.any() else 0
    floor = np.float32(np.hypot(MIN_FLOW_SIGMA_PX, SIGMA_PER_EPIPOLAR_ERROR * deviation))
    clipped = np.minimum(forward_backward, MAX_FORWARD_BACKWARD_PX)
    flow_sigma = np.sqrt(floor**2 + (SIGMA_PER_FORWARD_BACKWARD * clipped) ** 2)
    # A point in front of both cameras has a positive inverse depth, within noise.
    is_behind = depth < -2 * flow_sigma * z_ratio / np.sqrt(information)
    is_inlier = is_consistent & (epipolar_error < MAX_EPIPOLAR_PX) & ~is_behind
    information = np.where(is_inlier, information / (flow_sigma * z_ratio) ** 2, 0)
    return np.maximum(depth, 0), information


def inlier_mean(depths: Float32Array, inverse_variances: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Inverse-variance mean and sigma of (m, h, w) consistent inverse depths.

    Those count that agree with the most certain one.
    """
    best = inverse_variances.argmax(axis=0)[None]
    reference, information = (np.take_along_axis(m, best, axis=0)[0] for m in (depths, inverse_variances))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(inverse_variances > 0, 1 / inverse_variances, np.inf)
        tolerance = MAX_SIGMAS * np.sqrt(variance + 1 / information) + MAX_RELATIVE_ERROR * reference
        weight = np.where(np.abs(depths - reference) / tolerance < 1, inverse_variances, 0)
        total = weight.sum(axis=0)
        mean = np.where(total > 0, (weight * depths).sum(axis=0) / total, 0)
        sigma = np.where(total > 0, 1 / np.sqrt(total), np.inf)
    return mean.astype(np.float32), sigma.astype(np.float32)
