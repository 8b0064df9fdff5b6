"""Overlays on a clip's images: depth colors, dynamic masks, the camera trajectory from above."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from core.arrays import BoolArray, Float64Array, UInt8Array
from core.cameras import invert_poses, pose_matrices
from storage.shard_members import DepthMaps

_NEAR_FAR_PERCENT = (2, 98)
_INVALID_RGB = (38, 40, 44)
_DYNAMIC_RGBA = (226, 61, 92, 150)
_PATH, _PAST, _CAMERA = (255, 255, 255), (64, 224, 190), (255, 196, 61)


def depth_range(maps: DepthMaps) -> tuple[float, float]:
    """(low, high) range of the color map: 2nd and 98th percentile of inverse depth."""
    inverse = 1 / maps.depth[maps.is_valid].astype(np.float32)
    if not inverse.size:
        return 0.0, 1.0
    far, near = np.percentile(inverse, _NEAR_FAR_PERCENT)
    return float(far), float(max(near, far + 1e-6))


def color_depth(depth: npt.NDArray[np.floating], is_valid: BoolArray, inverse_range: tuple[float, float]) -> UInt8Array:
    """(h, w, 3) colors of inverse depth: red near, blue far, dark gray where invalid."""
    z = depth.astype(np.float32)
    inverse = np.divide(1, z, out=np.zeros_like(z), where=is_valid & (z > 0))
    low, high = inverse_range
    level = np.clip((inverse - low) / (high - low), 0, 1)
    colors = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1]
    return np.where(is_valid[:, :, None], colors, np.array(_INVALID_RGB, np.uint8)).astype(np.uint8)


def dynamic_overlay(is_moving: BoolArray, size: tuple[int, int]) -> UInt8Array:
    """(h, w, 4) RGBA overlay of the given (width, height) that tints dynamic pixels."""
    mask = cv2.resize(is_moving.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return (mask[:, :, None] * np.array(_DYNAMIC_RGBA, np.uint8)).astype(np.uint8)


class TrajectoryMap:
    """Draws a camera trajectory from above as an inset map.

    Up in the map is the forward direction of the first camera, right is its right.

    Args:
      cam_from_world: (n, 7), NaN in frames without a pose.
    """

    def __init__(self, cam_from_world: Float64Array) -> None:
        self._has_pose = np.asarray(np.isfinite(cam_from_world).all(axis=1))
        world_from_cam = invert_poses(cam_from_world)
        self._centers = world_from_cam[:, [0, 2]]
        self._forward = pose_matrices(world_from_cam)[:, :3, 2][:, [0, 2]]

    def draw_on(self, image: UInt8Array, i: int) -> UInt8Array:
        """The image with the map in a corner, the camera at the i-th frame."""
        if not self._has_pose[i]:
            return image
        height, width = image.shape[:2]
        side = round(0.36 * min(width, height))
        known = self._centers[self._has_pose]
        middle = (known.min(axis=0) + known.max(axis=0)) / 2
        extent = max(float((known.max(axis=0) - known.min(axis=0)).max()), 1e-6)
        left, top = width - side - 4, height - side - 4

        def to_map(point: Float64Array) -> tuple[float, float]:
            x, z = (point - middle) / extent * (0.62 * side)
            return left + side / 2 + x, top + side / 2 - z

        canvas = Image.fromarray(image)
        draw = ImageDraw.Draw(canvas, "RGBA")
        draw.rectangle((left, top, left + side, top + side), fill=(16, 18, 22, 170))
        path = [to_map(point) for point in known]
        past = [to_map(point) for point in self._centers[: i + 1][self._has_pose[: i + 1]]]
        for line, color in ((path, _PATH), (past, _PAST)):
            if len(line) > 1:
                draw.line(line, fill=color, width=1)
        x, y = to_map(self._centers[i])
        forward = self._forward[i] / max(float(np.linalg.norm(self._forward[i])), 1e-9)
        heading = np.arctan2(forward[0], forward[1])
        length_px = 0.16 * side
        frustum = [
            (x + length_px * np.sin(heading + side_rad), y - length_px * np.cos(heading + side_rad))
            for side_rad in (-0.45, 0.45)
        ]
        draw.polygon([(x, y), *frustum], fill=(*_CAMERA, 230))
        return np.asarray(canvas.convert("RGB"))
