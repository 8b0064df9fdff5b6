"""The static surface that neighboring frames observe along a frame's rays; it occludes all static points behind it."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float32Array
from models.depth.motion_stereo import InverseDepth
from models.geometry.posed_frames import MIN_DEPTH_RATIO, PosedFrames

REACH = 10
CELL_PX = 2
EDGE_CELLS = 3


def render_neighbor_surface(frames: PosedFrames, maps: InverseDepth, frame: int) -> Float32Array:
    """(h, w) inverse depth of the nearest surface in neighboring frames, reprojected; 0 where none.

    Two of up to ten frames on each side must confirm it, and so must all adjacent cells (outliers, depth edges).

    Args:
      frames: that the maps belong to.
      maps: their depths, of which the valid ones count.
      frame: the one that is looked at.
    """
    _, height, width = frames.shape
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    nearest, second = (np.zeros(rows * columns, np.float32) for _ in range(2))
    for other in range(max(0, frame - REACH), min(len(frames), frame + REACH + 1)):
        if other != frame and frames.is_registered[[other, frame]].all():
            seen = _splat_nearest(frames, maps, other, frame, (rows, columns))
            second = np.maximum(second, np.minimum(nearest, seen))
            nearest = np.maximum(nearest, seen)
    surface = cv2.erode(second.reshape(rows, columns), np.ones((EDGE_CELLS, EDGE_CELLS), np.uint8))
    return np.asarray(cv2.resize(surface, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _splat_nearest(
    frames: PosedFrames, maps: InverseDepth, source: int, target: int, shape: tuple[int, int]
) -> Float32Array:
    """The largest inverse depth, in one frame, of another's points in each cell of a grid of this shape, flat."""
    rows, columns = shape
    x, y, z = frames.project(source, target, maps.inverse_depth[source])
    column, row = ((at + np.float32(0.5)) / CELL_PX for at in (x, y))
    inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
    inside &= maps.is_valid[source] & (z > MIN_DEPTH_RATIO)
    cell = row[inside].astype(np.int64) * columns + column[inside].astype(np.int64)
    found = np.zeros(rows * columns, np.float32)
    np.maximum.at(found, cell, maps.inverse_depth[source][inside] / z[inside])
    return found
