"""Occlusion: the nearest static surface along a frame's rays, from the depth of neighboring frames."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float32Array
from models.depth.motion_stereo import InverseDepth
from models.geometry.posed_frames import MIN_DEPTH_RATIO, PosedFrames

MAX_FRAME_OFFSET = 10
CELL_PX = 2
EROSION_CELLS = 3


def render_neighbor_surface(frames: PosedFrames, maps: InverseDepth, frame: int) -> Float32Array:
    """(h, w) inverse depth of the nearest surface that two other frames confirm.

    0 where unknown.

    Z-buffers of up to ten frames before and behind are compared. The second nearest depth of a cell counts, eroded over
    neighboring cells, so that neither outliers nor depth edges make a surface. In `frame` itself the surface may be
    occluded; a static point behind it cannot be visible.

    Args:
      frames: with poses.
      maps: depth of each frame; only valid pixels count.
      frame: whose rays are evaluated.
    """
    _, height, width = frames.shape
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    nearest, second = (np.zeros(rows * columns, np.float32) for _ in range(2))
    for other in range(max(0, frame - MAX_FRAME_OFFSET), min(len(frames), frame + MAX_FRAME_OFFSET + 1)):
        if other != frame and frames.is_registered[[other, frame]].all():
            z_buffer = _render_z_buffer(frames, maps, other, frame, (rows, columns))
            second = np.maximum(second, np.minimum(nearest, z_buffer))
            nearest = np.maximum(nearest, z_buffer)
    surface = cv2.erode(second.reshape(rows, columns), np.ones((EROSION_CELLS, EROSION_CELLS), np.uint8))
    return np.asarray(cv2.resize(surface, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _render_z_buffer(
    frames: PosedFrames, maps: InverseDepth, source: int, target: int, shape: tuple[int, int]
) -> Float32Array:
    """(rows * columns,) largest inverse depth in `target` per cell, from points of `source`."""
    rows, columns = shape
    x, y, z = frames.project(source, target, maps.inverse_depth[source])
    column, row = ((position + np.float32(0.5)) / CELL_PX for position in (x, y))
    inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
    inside &= maps.is_valid[source] & (z > MIN_DEPTH_RATIO)
    cell = row[inside].astype(np.int64) * columns + column[inside].astype(np.int64)
    z_buffer = np.zeros(rows * columns, np.float32)
    np.maximum.at(z_buffer, cell, maps.inverse_depth[source][inside] / z[inside])
    return z_buffer
