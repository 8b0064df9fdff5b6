"""A first guess of dense inverse depth from the sparse points of a scene."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array
from models.depth.propagation import mean_around
from models.geometry.posed_frames import PosedFrames
from native import se3

CELLS_A_SIDE = 32
SPREADS = (0.7, 2.0, 6.0)
"""Standard deviations in cells; wider ones count where the narrower find no points."""


def sparse_inverse_depth(frames: PosedFrames, points_world: Float64Array) -> Float32Array:
    """(n, h, w) float32 inverse depths between those of the points that lie in each frame; 0 in frames without any.

    Points behind others are not told apart: it is where a search begins, no more.
    """
    guess = np.zeros(frames.shape, np.float32)
    for frame in np.flatnonzero(frames.is_registered).tolist():
        guess[frame] = _spread(frames, frames.cam_from_world[frame], points_world)
    return guess


def _spread(frames: PosedFrames, pose: Float64Array, points_world: Float64Array) -> Float32Array:
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
        np.clip((at[inside] + 0.5) * (count / side), 0, count - 1).astype(np.int64)
        for at, count, side in zip((row, column), grid, (height, width), strict=True)
    ]
    index = cell_of[0] * grid[1] + cell_of[1]
    count, total = (np.bincount(index, weights, grid[0] * grid[1]).reshape(grid) for weights in (None, inverse_depth))
    mean = mean_around(total, count, SPREADS)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
