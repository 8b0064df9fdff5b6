"""A clip as the viewer shows it: images, overlays, cameras and points of each annotated frame."""

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
_WORD_COLORS = ("#0f8b78", "#d9902f", "#5b6b85", "#8a4fbf", "#cf4238", "#3d7edb")

_WORD_STYLE = (
    "position:absolute;top:0;bottom:0;overflow:hidden;white-space:nowrap;color:#fff;font-size:11px;line-height:22px;"
    "padding:0 4px;box-sizing:border-box"
)
_NOW_STYLE = "position:absolute;top:-3px;bottom:-3px;width:2px;background:#111"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera in the world: its center, its rotation as (w x y z), vertical field of view, width / height."""

    position: Float64Array
    wxyz: Float64Array
    fov_rad: float
    aspect: float


class ShownClip:
    """Annotated frames of a clip (or evenly spread ones, where it was not annotated), ready to be shown.

    Attributes:
      clip: the clip.
      times_s: (n,) time of each frame.
      images: (h, w, 3) RGB of each.
      first: ordinal of the first annotated frame that is shown: of a long clip 300 are, from the first pose on.
      left_out: annotated frames of a long clip that are not shown.
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
        places = {ordinal - self.first: k for k, ordinal in enumerate(ordinals)}
        self._place = {i: k for i, k in places.items() if i < len(frames)}
        self._range = None if clip.depth is None else depth_range(clip.depth)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, i: int, *, moving: bool, depth: bool) -> UInt8Array:
        """The i-th image with the overlays that are asked for and there."""
        image = self.images[i]
        size = image.shape[1], image.shape[0]
        maps, masks = self.clip.depth, self.clip.is_moving
        if depth and maps is not None and self._range is not None:
            ordinal = self.first + i
            colors = cv2.resize(color_depth(maps.depth[ordinal], maps.is_valid[ordinal], self._range), size)
            image = cv2.addWeighted(image, 1 - _DEPTH_WEIGHT, colors, _DEPTH_WEIGHT, 0).astype(np.uint8)
        if moving and masks is not None:
            veil = dynamic_overlay(masks[self.first + i], size).astype(np.float32)
            weight = veil[:, :, 3:] / 255
            image = np.rint(image * (1 - weight) + veil[:, :, :3] * weight).astype(np.uint8)
        return image

    def camera(self, i: int) -> Camera | None:
        """The camera of the i-th frame; None where it has no pose."""
        if self._posed is None or i not in self._place:
            return None
        k = self._place[i]
        x, y, z, qx, qy, qz, qw = invert_poses(self._posed.cam_from_world[k : k + 1])[0]
        width, height = self.clip.size
        fy = float(self._posed.intrinsics_px[k, 1])
        return Camera(
            position=np.array([x, y, z]),
            wxyz=np.array([qw, qx, qy, qz]),
            fov_rad=float(2 * np.arctan(height / 2 / fy)),
            aspect=width / height,
        )

    def path(self) -> Float64Array:
        """(k, 3) camera centers of the frames that have a pose."""
        if self._posed is None:
            return np.zeros((0, 3))
        return invert_poses(self._posed.cam_from_world[: len(self._place)])[:, :3]

    def cloud(self, indices: npt.ArrayLike) -> PointCloud | None:
        """Points of some frames together, fewer of each the more frames there are."""
        chosen = [i for i in np.asarray(indices).tolist() if i in self._place]
        if self._posed is None or not chosen:
            return None
        most = max(200, POINTS_PER_FRAME * 6 // (5 + len(chosen)))
        return concatenate_clouds(self._posed.point_cloud(self._place[i], self.images[i], most) for i in chosen)

    def reach(self) -> float:
        """A length that frusta and lines can be measured by: typical depth, else the path's extent."""
        depth = self.clip.row["scene_depth"]
        if depth:
            return float(depth)
        path = self.path()
        return float(np.ptp(path, axis=0).max()) if len(path) > 1 and np.ptp(path) > 0 else 1.0

    def timeline_html(self, i: int) -> str:
        """Motion words along the time of the clip, and where the i-th frame is."""
        start, end = float(self.times_s[0]), float(self.times_s[-1])
        percent = 100 / max(end - start, 1e-6)
        spans = [(span.split("->"), " + ".join(words)) for span, words in self.clip.instructions.items()]
        names = sorted({name for _, name in spans})
        parts = []
        for (first, last), name in spans:
            rows = (min(max(int(k) - self.first, 0), len(self) - 1) for k in (first, last))
            left, right = (percent * float(self.times_s[row] - start) for row in rows)
            color = _WORD_COLORS[names.index(name) % len(_WORD_COLORS)]
            place = f"left:{left:.1f}%;width:{max(right - left, 0.5):.1f}%;background:{color}"
            parts.append(f'<div title="{escape(name)}" style="{_WORD_STYLE};{place}">{escape(name)}</div>')
        now = percent * float(self.times_s[i] - start)
        parts.append(f'<div style="{_NOW_STYLE};left:{now:.1f}%"></div>')
        note = f"{self.times_s[i]:.2f} s of {end:.2f} s"
        return (
            '<div style="padding:4px 12px"><div style="position:relative;height:22px;background:#d5d6d2">'
            f'{"".join(parts)}</div><div style="font-size:12px;margin-top:4px">{note}</div></div>'
        )
