"""Frames with a pose: images, depth maps, dynamic masks and points for export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from core.cameras import to_world, unproject
from explore.clips import CameraTrajectory, Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCloud:
    """Colored points: (n, 3) in world coordinates, (n, 3) uint8 RGB."""

    points_world: Float64Array
    rgb: UInt8Array


class ExportFrames:
    """Frames of `clip` with a pose; n is their number.

    Attributes:
      ordinals: (n,) rows of the clip's annotation arrays.
      frames: (n,) frame indices in the clip.
      times_s: (n,) seconds since the clip's first frame.
      cam_from_world: (n, 7).
      intrinsics_px: (n, 4) fx fy cx cy in pixels of the clip, pixel centers at integers.
    """

    def __init__(self, clip: Clip, trajectory: CameraTrajectory) -> None:
        self.clip = clip
        self.ordinals = np.flatnonzero(trajectory.has_pose)
        self.frames = trajectory.frames[self.ordinals]
        self.times_s = trajectory.times_s[self.ordinals]
        self.cam_from_world = trajectory.cam_from_world[self.ordinals]
        self.intrinsics_px = trajectory.intrinsics_px[self.ordinals]

    def __len__(self) -> int:
        return len(self.ordinals)

    def images(self) -> Iterator[UInt8Array]:
        """Yields the frames as (h, w, 3) RGB at the clip's size."""
        return self.clip.images(self.frames.tolist())

    def depth_map(self, i: int) -> Float32Array | None:
        """(h, w) z-depth of a frame at clip size, 0 where invalid; None without depth."""
        if self.clip.depth is None:
            return None
        return resize_nearest(self.clip.depth.depth[self.ordinals[i]].astype(np.float32), self.clip.size)

    def dynamic_mask(self, i: int) -> BoolArray | None:
        """(h, w) dynamic mask of a frame at clip size; None without masks."""
        if self.clip.is_moving is None:
            return None
        return resize_nearest(self.clip.is_moving[self.ordinals[i]].astype(np.uint8), self.clip.size).astype(bool)

    def point_cloud(self, i: int, image: UInt8Array, max_points: int) -> PointCloud | None:
        """Unprojected static pixels of the i-th frame; None without depth.

        Args:
          i: ordinal among the frames with a pose.
          image: the frame at any size, for the colors of the points.
          max_points: upper bound; the depth map is subsampled evenly.
        """
        maps, moving = self.clip.depth, self.clip.is_moving
        if maps is None:
            return None
        ordinal = self.ordinals[i]
        usable = maps.is_valid[ordinal] if moving is None else maps.is_valid[ordinal] & ~moving[ordinal]
        rows, columns = np.nonzero(usable)
        step = max(1, -(-len(rows) // max_points))
        rows, columns = rows[::step], columns[::step]
        sx, sy, ox, oy = maps.map_from_clip
        pixels = np.stack([(columns - ox) / sx, (rows - oy) / sy], axis=1)
        points_cam = unproject(maps.depth[ordinal, rows, columns], self.intrinsics_px[i], pixels)
        height, width = image.shape[:2]
        x, y = np.rint((pixels + 0.5) * (width, height) / self.clip.size - 0.5).astype(int).T
        rgb = image[y.clip(0, height - 1), x.clip(0, width - 1)]
        return PointCloud(points_world=to_world(points_cam, self.cam_from_world[i]), rgb=rgb)


def concatenate_clouds(clouds: Iterable[PointCloud | None]) -> PointCloud | None:
    """The points of several clouds as one; None if there are none."""
    present = [cloud for cloud in clouds if cloud is not None]
    if not present:
        return None
    return PointCloud(
        points_world=np.concatenate([cloud.points_world for cloud in present]),
        rgb=np.concatenate([cloud.rgb for cloud in present]),
    )


def resize_nearest(maps: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """A map resized to (width, height) by nearest-neighbor sampling."""
    return np.asarray(cv2.resize(maps, size, interpolation=cv2.INTER_NEAREST_EXACT))


def encode_png(image: npt.NDArray[Any]) -> bytes:
    """A PNG of (h, w) uint8 or uint16."""
    return bytes(cv2.imencode(".png", image)[1].tobytes())
