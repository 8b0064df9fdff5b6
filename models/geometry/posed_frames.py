"""Frames with camera poses: projection of pixels with depth from one frame into another."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array, UInt8Array
from models.flow.dis import pixel_coordinates
from models.sfm.estimate import resize_intrinsics
from native import se3

MIN_DEPTH_RATIO = np.float32(0.05)
"""Least depth of a point in the target frame, over its depth in the source frame, for projection."""


class PosedFrames:
    """Gray frames with poses, at the size of depth maps and masks.

    Args:
      gray: (h, w) uint8 frames.
      cam_from_world: (n, 7), NaN in frames without a pose.
      intrinsics_px: (4,) fx fy cx cy in pixels of these frames.
    """

    def __init__(self, gray: Sequence[UInt8Array], cam_from_world: Float64Array, intrinsics_px: Float64Array) -> None:
        self.gray = tuple(gray)
        self.cam_from_world = cam_from_world
        self.intrinsics_px = intrinsics_px
        self.is_registered = np.asarray(np.isfinite(cam_from_world).all(axis=1))
        self.centers = np.full((len(gray), 3), np.nan)
        self.centers[self.is_registered] = se3.invert(cam_from_world[self.is_registered])[:, :3]
        height, width = self.gray[0].shape
        self.columns, self.rows = pixel_coordinates(height, width)
        fx, fy, cx, cy = (np.float32(v) for v in intrinsics_px)
        self._x, self._y = (self.columns - cx) / fx, (self.rows - cy) / fy

    @classmethod
    def downscaled(
        cls,
        rgb: Sequence[UInt8Array],
        cam_from_world: Float64Array,
        intrinsics_px: Float64Array,
        size: tuple[int, int],
    ) -> PosedFrames:
        """Posed frames from RGB frames and intrinsics, resized to (width, height).

        Frames are (h, w, 3); the new size is not larger.
        """
        full = rgb[0].shape[1], rgb[0].shape[0]
        gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in rgb]
        if size != full:
            gray = [np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA), np.uint8) for one in gray]
        return cls(gray, cam_from_world, resize_intrinsics(intrinsics_px, full, size))

    def __len__(self) -> int:
        return len(self.gray)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, h, w)."""
        height, width = self.gray[0].shape
        return len(self.gray), height, width

    def relative_pose(self, source: int, target: int) -> tuple[Float32Array, Float32Array]:
        """Rotation (3, 3) and translation (3,) from the source to the target camera."""
        poses = self.cam_from_world
        matrix = se3.to_matrix(se3.compose(poses[target], se3.invert(poses[source]))).astype(np.float32)
        return matrix[:3, :3], matrix[:3, 3]

    def rotated_rays(self, rotation: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Rays of all pixels (z = 1) after a rotation.

        x, y and z, (h, w) each.
        """
        x, y, z = (row[0] * self._x + (row[1] * self._y + row[2]) for row in rotation)
        return x, y, z

    def project(
        self, source: int, target: int, inverse_depth: Float32Array | np.float32
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Projects the pixels of one frame into another by their inverse depth.

        Args:
          source, target: frames with poses.
          inverse_depth: (h, w) in the source, 0 for points at infinity.

        Returns:
          (h, w) columns and rows in the target, and depth in the target over depth in the source.
        """
        fx, fy, cx, cy = (np.float32(v) for v in self.intrinsics_px)
        rotation, translation = self.relative_pose(source, target)
        x, y, z = (t + m * inverse_depth for t, m in zip(self.rotated_rays(rotation), translation, strict=True))
        depth_ratio = np.maximum(z, MIN_DEPTH_RATIO)
        return fx * x / depth_ratio + cx, fy * y / depth_ratio + cy, z

    def rigid_flow(self, source: int, target: int, inverse_depth: Float32Array | np.float32) -> Float32Array:
        """(h, w, 2) rigid flow: optical flow of a static scene between two frames."""
        columns, rows, _ = self.project(source, target, inverse_depth)
        return np.stack([columns - self.columns, rows - self.rows], axis=-1)
