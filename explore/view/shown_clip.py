"""A clip in the viewer: image, overlays, camera and points of each annotated frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array, UInt8Array
from core.cameras import invert_poses
from explore.clips import Clip
from explore.export.frames import ExportFrames, PointCloud, concatenate_clouds
from explore.markup import escape
from explore.overlays import color_depth, depth_range, dynamic_overlay

IMAGE_SIDE_PX = 640
POINTS_PER_FRAME = 6000
MAX_FRAMES = 300
_UNANNOTATED_FRAMES = 40
_DEPTH_WEIGHT = 0.65
_LABEL_COLORS = ("#0f8b78", "#d9902f", "#5b6b85", "#8a4fbf", "#cf4238", "#3d7edb")

_LABEL_STYLE = (
    "position:absolute;top:0;bottom:0;overflow:hidden;white-space:nowrap;color:#fff;font-size:11px;line-height:22px;"
    "padding:0 4px;box-sizing:border-box"
)
_NOW_STYLE = "position:absolute;top:-3px;bottom:-3px;width:2px;background:#111"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera in world coordinates.

    `rotation` is that of world_from_cam; the field of view is vertical.
    """

    center: Float64Array
    wxyz: Float64Array
    fov_rad: float
    aspect: float


class ShownClip:
    """Frames of a clip at display size: annotated ones, else evenly spaced ones.

    Attributes:
      clip: the clip.
      times_s: (n,) time of each frame.
      images: (h, w, 3) RGB of each.
      first: ordinal of the first annotated frame shown; a long clip shows 300 frames from its first pose on.
      left_out: number of annotated frames of a long clip that are not shown.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        trajectory = clip.trajectory
        has_poses = trajectory is not None and bool(clip.row["pose_ok"])
        self._posed = ExportFrames(clip, trajectory) if trajectory is not None and has_poses else None
        ordinals = [] if self._posed is None else self._posed.ordinals.tolist()
        self.first = 0
        if trajectory is None:
            count = clip.row["clip_num_frames"]
            frames = np.unique(np.linspace(0, count - 1, min(count, _UNANNOTATED_FRAMES)).astype(int))
            self.times_s = frames * (clip.row["clip_duration_s"] / count)
        else:
            self.first = max(0, min(ordinals[0] if ordinals else 0, len(trajectory.frames) - MAX_FRAMES))
            shown = slice(self.first, self.first + MAX_FRAMES)
            frames, self.times_s = trajectory.frames[shown], trajectory.times_s[shown]
        self.left_out = 0 if trajectory is None else len(trajectory.frames) - len(frames)
        self.images = list(clip.images(frames.tolist(), IMAGE_SIDE_PX))
        rows = {ordinal - self.first: k for k, ordinal in enumerate(ordinals)}
        self._pose_rows = {i: k for i, k in rows.items() if i < len(frames)}
        self._inverse_range = None if clip.depth is None else depth_range(clip.depth)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, i: int, *, moving: bool, depth: bool) -> UInt8Array:
        """The i-th image with the requested overlays, as far as the clip has them."""
        image = self.images[i]
        size = image.shape[1], image.shape[0]
        maps, masks = self.clip.depth, self.clip.is_moving
        if depth and maps is not None and self._inverse_range is not None:
            ordinal = self.first + i
            colors = cv2.resize(color_depth(maps.depth[ordinal], maps.is_valid[ordinal], self._inverse_range), size)
            image = cv2.addWeighted(image, 1 - _DEPTH_WEIGHT, colors, _DEPTH_WEIGHT, 0).astype(np.uint8)
        if moving and masks is not None:
            overlay = dynamic_overlay(masks[self.first + i], size).astype(np.float32)
            alpha = overlay[:, :, 3:] / 255
            image = np.rint(image * (1 - alpha) + overlay[:, :, :3] * alpha).astype(np.uint8)
        return image

    def camera(self, i: int) -> Camera | None:
        """The camera of the i-th frame; None where it has no pose."""
        if self._posed is None or i not in self._pose_rows:
            return None
        k = self._pose_rows[i]
        x, y, z, qx, qy, qz, qw = invert_poses(self._posed.cam_from_world[k : k + 1])[0]
        width, height = self.clip.size
        fy = float(self._posed.intrinsics_px[k, 1])
        return Camera(
            center=np.array([x, y, z]),
            wxyz=np.array([qw, qx, qy, qz]),
            fov_rad=float(2 * np.arctan(height / 2 / fy)),
            aspect=width / height,
        )

    def camera_path(self) -> Float64Array:
        """(k, 3) camera centers of the frames that have a pose."""
        if self._posed is None:
            return np.zeros((0, 3))
        return invert_poses(self._posed.cam_from_world[: len(self._pose_rows)])[:, :3]

    def cloud(self, indices: npt.ArrayLike) -> PointCloud | None:
        """Points of several frames, fewer per frame the more frames there are; None without any."""
        posed = [i for i in np.asarray(indices).tolist() if i in self._pose_rows]
        if self._posed is None or not posed:
            return None
        max_points = max(200, POINTS_PER_FRAME * 6 // (5 + len(posed)))
        return concatenate_clouds(
            self._posed.point_cloud(self._pose_rows[i], self.images[i], max_points) for i in posed
        )

    def scene_size(self) -> float:
        """Length that scales frusta and points: scene depth or extent of the camera path."""
        depth = self.clip.row["scene_depth"]
        if depth:
            return float(depth)
        path = self.camera_path()
        return float(np.ptp(path, axis=0).max()) if len(path) > 1 and np.ptp(path) > 0 else 1.0

    def timeline_html(self, i: int) -> str:
        """HTML timeline of the clip's motion labels, with a marker at the i-th frame."""
        start, end = float(self.times_s[0]), float(self.times_s[-1])
        percent = 100 / max(end - start, 1e-6)
        spans = [(span.split("->"), " + ".join(words)) for span, words in self.clip.instructions.items()]
        names = sorted({name for _, name in spans})
        parts = []
        for (first, last), name in spans:
            rows = (min(max(int(k) - self.first, 0), len(self) - 1) for k in (first, last))
            left, right = (percent * float(self.times_s[row] - start) for row in rows)
            color = _LABEL_COLORS[names.index(name) % len(_LABEL_COLORS)]
            position = f"left:{left:.1f}%;width:{max(right - left, 0.5):.1f}%;background:{color}"
            parts.append(f'<div title="{escape(name)}" style="{_LABEL_STYLE};{position}">{escape(name)}</div>')
        now = percent * float(self.times_s[i] - start)
        parts.append(f'<div style="{_NOW_STYLE};left:{now:.1f}%"></div>')
        note = f"{self.times_s[i]:.2f} s of {end:.2f} s"
        return (
            '<div style="padding:4px 12px"><div style="position:relative;height:22px;background:#d5d6d2">'
            f'{"".join(parts)}</div><div style="font-size:12px;margin-top:4px">{note}</div></div>'
        )
