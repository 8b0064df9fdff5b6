"""How good a window's annotation is, by measures that need no truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from models.annotation.map_files import StoredMaps
from models.flow.dis import DisFlow, flow_magnitude, pixel_coordinates, warp
from native import se3

TRACKED_SIDE_PX = 320
BASE_RETURN_PX = 0.5
RETURN_SHARE = 0.1
MIN_TEXTURE = 1.0
MIN_PIXELS = 100


def tracked_shares(rgb: Sequence[UInt8Array]) -> Float64Array:
    """(n - 1,) share of pixels that dense flow finds again in the next frame: it comes back to where it started.

    Flow is looked at where there is something to follow, that is a difference between neighboring pixels beyond
    noise; a blank picture has a share of 0. Frames are shrunk to 320 pixels.
    """
    engine = DisFlow()
    gray = [_shrunk(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)) for frame in rgb]
    shares = []
    for before, now in pairwise(gray):
        flow, back = engine.flow(before, now), engine.flow(now, before)
        error = flow_magnitude(warp(back, flow, outside=1e6) + flow)
        returns = error < BASE_RETURN_PX + RETURN_SHARE * flow_magnitude(flow)
        shares.append(float((returns & _has_texture(before)).mean()))
    return np.array(shares)


def depth_errors(maps: StoredMaps, cam_from_world: Float64Array, intrinsics_px: Float64Array) -> Float64Array:
    """Relative error of depth from each frame to the next: its points, moved by the poses, against the next one's map.

    Args:
      maps: (n, h, w) of neighboring frames.
      cam_from_world: (n, 7), in the unit of the maps; NaN in frames without a pose.
      intrinsics_px: (n, 4) in pixels of the maps.

    Returns:
      (m,) median of |predicted - found| / found over the static pixels that both frames know, of each pair of frames
      with enough of them.
    """
    columns, rows = pixel_coordinates(*maps.depth.shape[1:])
    errors = []
    for k in range(len(maps.depth) - 1):
        known = (maps.depth[k] > 0) & ~maps.moving[k]
        if np.count_nonzero(known) < MIN_PIXELS or not np.isfinite(cam_from_world[k : k + 2]).all():
            continue
        fx, fy, cx, cy = intrinsics_px[k]
        depth = maps.depth[k][known].astype(np.float64)
        points = np.stack([(columns[known] - cx) / fx * depth, (rows[known] - cy) / fy * depth, depth], axis=1)
        motion = se3.compose(cam_from_world[k + 1], se3.invert(cam_from_world[k]))
        x, y, z = np.asarray(se3.act(motion, points)).T
        fx, fy, cx, cy = intrinsics_px[k + 1]
        z = np.maximum(z, 1e-9)
        found = _at(np.where(maps.moving[k + 1], 0, maps.depth[k + 1]), fx * x / z + cx, fy * y / z + cy)
        both = found > 0
        if np.count_nonzero(both) >= MIN_PIXELS:
            errors.append(float(np.median(np.abs(z[both] - found[both]) / found[both])))
    return np.array(errors)


def _at(values: Float32Array, x: Float64Array, y: Float64Array) -> Float64Array:
    """Values at the nearest pixels; 0 outside."""
    height, width = values.shape
    column, row = np.rint(np.clip(x, -1, width)), np.rint(np.clip(y, -1, height))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.zeros(len(x))
    result[inside] = values[row[inside].astype(int), column[inside].astype(int)]
    return result


def _shrunk(gray: UInt8Array) -> UInt8Array:
    scale = min(1.0, TRACKED_SIDE_PX / max(gray.shape))
    size = max(16, round(gray.shape[1] * scale)), max(16, round(gray.shape[0] * scale))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def _has_texture(gray: UInt8Array) -> BoolArray:
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0).astype(np.float32)
    gradient = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    return np.asarray(cv2.blur(gradient, (11, 11)) > MIN_TEXTURE)
