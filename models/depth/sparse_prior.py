"""Dense inverse depth interpolated from sparse 3D points, as initial value of a search."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array
from models.depth.propagation import normalized_convolution
from models.geometry.posed_frames import PosedFrames
from native import se3

CELLS_A_SIDE = 32
SIGMAS = (0.7, 2.0, 6.0)
"""Standard deviations in cells; a wider one counts where the narrower reach no point."""


def sparse_inverse_depth(frames: PosedFrames, points_world: Float64Array) -> Float32Array:
    """(n, h, w) float32 inverse depth interpolated from 3D points in view.

    0 in frames without any.

    Occlusion is ignored.
    """
    inverse_depth = np.zeros(frames.shape, np.float32)
    for frame in np.flatnonzero(frames.is_registered).tolist():
        inverse_depth[frame] = _interpolate(frames, frames.cam_from_world[frame], points_world)
    return inverse_depth


def _interpolate(frames: PosedFrames, pose: Float64Array, points_world: Float64Array) -> Float32Array:
    _, height, width = frames.shape
    fx, fy, cx, cy = frames.intrinsics_px
    x, y, z = np.asarray(se3.act(pose, points_world)).T
    z = np.where(z > 0, z, np.nan)
    column, row = fx * x / z + cx, fy * y / z + cy
    inside = (np.abs(column - (width - 1) / 2) < width / 2) & (np.abs(row - (height - 1) / 2) < height / 2)
    if not inside.any():
        return np.zeros((height, width), np.float32)
    inverse_depth = 1 / z[inside]
    cell = max(width, height) / CELLS_A_SIDE
    grid = round(height / cell), round(width / cell)
    cell_of = [
        np.clip((position[inside] + 0.5) * (count / side), 0, count - 1).astype(np.int64)
        for position, count, side in zip((row, column), grid, (height, width), strict=True)
    ]
    index = cell_of[0] * grid[1] + cell_of[1]
    count, total = (np.bincount(index, weights, grid[0] * grid[1]).reshape(grid) for weights in (None, inverse_depth))
    mean = normalized_convolution(total, count, SIGMAS)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
