"""Quality measures of a window's annotation that need no ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from models.annotation.map_files import StoredMaps
from models.flow.dis import DisFlow, flow_magnitude, pixel_coordinates, warp
from native import se3

MAX_SIDE_PX = 320
FLOW_TOLERANCE_PX = 0.5
FLOW_TOLERANCE_SHARE = 0.1
MIN_GRADIENT = 1.0
MIN_PIXELS = 100


def consistent_flow_shares(rgb: Sequence[UInt8Array]) -> Float64Array:
    """(n - 1,) share of pixels whose flow to the next frame is forward-backward consistent.

    The tolerance grows with the flow (cf. Sundaram et al. 2010). Pixels without texture count as inconsistent. Frames
    are downscaled to 320 pixels.
    """
    engine = DisFlow()
    gray = [_downscale(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)) for frame in rgb]
    shares = []
    for source, target in pairwise(gray):
        forward, backward = engine.flow(source, target), engine.flow(target, source)
        error = flow_magnitude(warp(backward, forward, outside=1e6) + forward)
        is_consistent = error < FLOW_TOLERANCE_PX + FLOW_TOLERANCE_SHARE * flow_magnitude(forward)
        shares.append(float((is_consistent & _has_texture(source)).mean()))
    return np.array(shares)


def depth_reprojection_errors(
    maps: StoredMaps, cam_from_world: Float64Array, intrinsics_px: Float64Array
) -> Float64Array:
    """Relative error of depth reprojected into the next frame, against that frame's depth map.

    Args:
      maps: (n, h, w) of consecutive frames.
      cam_from_world: (n, 7), in the unit of the maps; NaN in frames without a pose.
      intrinsics_px: (n, 4) in pixels of the maps.

    Returns:
      (m,) median of |reprojected - depth| / depth over static pixels valid in both frames, for each pair of frames
      with enough of them.
    """
    columns, rows = pixel_coordinates(*maps.depth.shape[1:])
    errors = []
    for k in range(len(maps.depth) - 1):
        is_valid = (maps.depth[k] > 0) & ~maps.is_moving[k]
        if np.count_nonzero(is_valid) < MIN_PIXELS or not np.isfinite(cam_from_world[k : k + 2]).all():
            continue
        fx, fy, cx, cy = intrinsics_px[k]
        depth = maps.depth[k][is_valid].astype(np.float64)
        points = np.stack([(columns[is_valid] - cx) / fx * depth, (rows[is_valid] - cy) / fy * depth, depth], axis=1)
        next_from_cam = se3.compose(cam_from_world[k + 1], se3.invert(cam_from_world[k]))
        x, y, z = np.asarray(se3.act(next_from_cam, points)).T
        fx, fy, cx, cy = intrinsics_px[k + 1]
        z = np.maximum(z, 1e-9)
        next_depth = np.where(maps.is_moving[k + 1], 0, maps.depth[k + 1])
        sampled = _sample_nearest(next_depth, fx * x / z + cx, fy * y / z + cy)
        both = sampled > 0
        if np.count_nonzero(both) >= MIN_PIXELS:
            errors.append(float(np.median(np.abs(z[both] - sampled[both]) / sampled[both])))
    return np.array(errors)


def _sample_nearest(values: Float32Array, x: Float64Array, y: Float64Array) -> Float64Array:
    """Values at the nearest pixels; 0 outside."""
    height, width = values.shape
    column, row = np.rint(np.clip(x, -1, width)), np.rint(np.clip(y, -1, height))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.zeros(len(x))
    result[inside] = values[row[inside].astype(int), column[inside].astype(int)]
    return result


def _downscale(gray: UInt8Array) -> UInt8Array:
    scale = min(1.0, MAX_SIDE_PX / max(gray.shape))
    size = max(16, round(gray.shape[1] * scale)), max(16, round(gray.shape[0] * scale))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def _has_texture(gray: UInt8Array) -> BoolArray:
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0).astype(np.float32)
    gradient = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    return np.asarray(cv2.blur(gradient, (11, 11)) > MIN_GRADIENT)
