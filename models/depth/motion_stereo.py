"""Depth of every frame from the motion of the camera: dense flow to other frames, triangulated with known poses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import BoolArray, Float32Array
from models.flow.dis import FlowCache
from models.geometry.posed_frames import MIN_DEPTH_RATIO, PosedFrames

MapFunction = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""Such as the built-in `map`, or that of a pool of threads."""

WANTED_PARALLAX_PX = 10.0
MIN_PARALLAX_PX = 1.0
MAX_STEP = 12
MAX_RETURN_PX = 1.5
MAX_OFF_LINE_PX = 0.75
# Noise of the flow along the epipolar line, as standard deviations: at least; so many times that across the line; and
# so much of what the flow back misses. Measured on real and rendered sequences with true depths.
MIN_NOISE_PX, NOISE_OF_OFF_LINE, NOISE_OF_RETURN = 0.03, 1.5, 0.85
SIGMA_OF_MEDIAN = 1.4826
MAX_RELATIVE_SIGMA = 0.12
SIGMAS_APART = 3.0
RELATIVE_APART = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseDepth:
    """Inverse depths of a clip's frames, in the units of the poses' translations.

    Attributes:
      inverse_depth: (n, h, w) float32, 1 / z; 0 where nothing is known.
      sigma: (n, h, w) float32, standard deviation of the inverse depth; infinite where nothing is known.
      is_valid: (n, h, w) bool: known, consistent between frames and well conditioned.
    """

    inverse_depth: Float32Array
    sigma: Float32Array
    is_valid: BoolArray


def estimate_depth(
    frames: PosedFrames, flows: FlowCache, typical_inverse_depth: float, map_fn: MapFunction = map
) -> InverseDepth:
    """Depth of all frames of a clip with known poses; frames without one get none.

    Each frame is triangulated with an earlier and a later one at the wanted parallax. Pixels that fail forward-backward
    consistency, or whose flow leaves the epipolar line, are left out.

    Args:
      frames: at the maps' size.
      flows: between them.
      typical_inverse_depth: of the scene, say the median of its points: it decides which frames are compared.
      map_fn: maps a function over the frames, possibly in parallel.
    """
    partners = _partners(frames, typical_inverse_depth)
    found = list(map_fn(lambda k: _depth_of(frames, flows, k, partners[k]), range(len(frames))))
    inverse_depth, sigma = (np.stack([maps[i] for maps in found]) for i in range(2))
    is_valid = (inverse_depth > 0) & (sigma < MAX_RELATIVE_SIGMA * np.maximum(inverse_depth, typical_inverse_depth / 4))
    return InverseDepth(inverse_depth=inverse_depth, sigma=sigma, is_valid=is_valid)


def _partners(frames: PosedFrames, typical_inverse_depth: float) -> list[list[int]]:
    """For each posed frame, those before and behind it with the parallax nearest to what is wanted, and who want it."""
    focal = float(frames.intrinsics_px[:2].mean())
    partners: list[set[int]] = [set() for _ in frames.gray]
    for frame in np.flatnonzero(frames.is_registered).tolist():
        for side in (-1, 1):
            others = [frame + side * k for k in range(1, MAX_STEP + 1)]
            others = [o for o in others if 0 <= o < len(frames) and frames.is_registered[o]]
            if not others:
                continue
            distance = np.linalg.norm(frames.centers[others] - frames.centers[frame], axis=1)
            parallax = focal * typical_inverse_depth * distance
            reached = np.flatnonzero(parallax >= WANTED_PARALLAX_PX)
            best = int(reached[0]) if len(reached) else int(parallax.argmax())
            if parallax[best] >= MIN_PARALLAX_PX:
                partners[frame].add(others[best])
                partners[others[best]].add(frame)
    return [sorted(chosen) for chosen in partners]


def _depth_of(
    frames: PosedFrames, flows: FlowCache, frame: int, others: list[int]
) -> tuple[Float32Array, Float32Array]:
    """Inverse depth of a frame and its standard deviation; 0 and infinity where nothing is known."""
    shape = frames.shape[1:]
    if not others:
        return np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    depths, inverse_variances = zip(*(triangulate(frames, flows, frame, other) for other in others), strict=True)
    return inlier_mean(np.stack(depths), np.stack(inverse_variances))


def triangulate(frames: PosedFrames, flows: FlowCache, source: int, target: int) -> tuple[Float32Array, Float32Array]:
    """Inverse depth of a frame's pixels from the flow to another, and its information.

    How far flow leads past the epipolar lines tells the errors of poses and flow, which are along them, too.

    Returns:
      (h, w) inverse depth, at least 0, and 1 / variance of it: 0 where the flow does not come back, or not lead along
      the epipolar line, or behind a camera.
    """
    flow = flows.flow(source, target)
    fx, fy, cx, cy = (np.float32(v) for v in frames.intrinsics_px)
    rotation, translation = frames.relative_pose(source, target)
    to_x, to_y = frames.columns + flow[..., 0], frames.rows + flow[..., 1]
    returned = flows.forward_backward_px(source, target)
    trusted = returned < MAX_RETURN_PX
    rx, ry, rz = frames.rotated_rays(rotation)
    u, v = (to_x - cx) / fx, (to_y - cy) / fy
    slope_u, slope_v = fx * (translation[0] - u * translation[2]), fy * (translation[1] - v * translation[2])
    offset_u, offset_v = fx * (u * rz - rx), fy * (v * rz - ry)
    information = slope_u**2 + slope_v**2 + np.float32(1e-12)
    depth = (slope_u * offset_u + slope_v * offset_v) / information
    height = np.maximum(rz + translation[2] * depth, MIN_DEPTH_RATIO)
    off_line = np.abs(slope_u * offset_v - slope_v * offset_u) / np.sqrt(information) / height
    typical = SIGMA_OF_MEDIAN * np.median(off_line[trusted]) if trusted.any() else 0
    least = np.float32(np.hypot(MIN_NOISE_PX, NOISE_OF_OFF_LINE * typical))
    noise = np.sqrt(least**2 + (NOISE_OF_RETURN * np.minimum(returned, MAX_RETURN_PX)) ** 2)
    # A point in front of both cameras, no nearer than noise allows.
    behind = depth < -2 * noise * height / np.sqrt(information)
    good = trusted & (off_line < MAX_OFF_LINE_PX) & ~behind
    information = np.where(good, information / (noise * height) ** 2, 0)
    return np.maximum(depth, 0), information


def inlier_mean(depths: Float32Array, inverse_variances: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Mean of (m, h, w) inverse depths that agree with the surest of them, and its standard deviation.

    Errors of one frame's depths have causes in common (its poses, its texture): the mean is taken to be no surer
    than the surest, and less sure if they scatter.
    """
    best = inverse_variances.argmax(axis=0)[None]
    surest, information = (np.take_along_axis(m, best, axis=0)[0] for m in (depths, inverse_variances))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(inverse_variances > 0, 1 / inverse_variances, np.inf)
        apart = np.abs(depths - surest) / (SIGMAS_APART * np.sqrt(variance + 1 / information) + RELATIVE_APART * surest)
        weight = np.where(apart < 1, inverse_variances, 0)
        total = weight.sum(axis=0)
        mean = np.where(total > 0, (weight * depths).sum(axis=0) / total, 0)
        sigma = np.where(total > 0, 1 / np.sqrt(total), np.inf)
    return mean.astype(np.float32), sigma.astype(np.float32)
