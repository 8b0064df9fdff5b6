"""Exports clips as COLMAP sparse models in text form, with images and masks."""

from __future__ import annotations

import numpy as np

from explore.clips import Clip
from explore.export.frames import ExportFrames, PointCloud, concatenate_clouds, encode_png
from explore.export.poses import export_frames, image_name, reason_without_poses
from media.images import encode_jpeg
from storage.store import Store

# COLMAP's pixel centers lie at halves.
CENTER_PX = 0.5
MAX_POINTS = 20_000


class ColmapExport:
    """`<clip>/images`, `<clip>/masks` (black = moving, to be ignored) and `<clip>/sparse/0/*.txt` for each clip.

    One PINHOLE camera per image. Poses need no conversion: COLMAP uses cam_from_world with x right, y down, z forward,
    too. 3D points come from the depth maps and have no tracks.
    """

    def __init__(self, target: Store) -> None:
        self._target = target

    def reason_to_skip(self, clip: Clip) -> str | None:
        """Reason why a clip has no poses to export; None if it has."""
        return reason_without_poses(clip)

    def add(self, clip: Clip) -> None:
        """Writes images, masks and sparse model of one clip."""
        frames = export_frames(clip)
        clouds = []
        for i, (frame, image) in enumerate(zip(frames.frames.tolist(), frames.images(), strict=True)):
            name = image_name(frame)
            self._target.write_bytes(f"{clip.clip_id}/images/{name}", encode_jpeg(image), "image/jpeg")
            clouds.append(frames.point_cloud(i, image, max(1, MAX_POINTS // len(frames))))
            moving = frames.dynamic_mask(i)
            if moving is not None:
                mask = encode_png(np.where(moving, 0, 255).astype(np.uint8))
                self._target.write_bytes(f"{clip.clip_id}/masks/{name}.png", mask, "image/png")
        points = _points(concatenate_clouds(clouds))
        model = {"cameras.txt": _cameras(frames), "images.txt": _images(frames), "points3D.txt": points}
        for name, text in model.items():
            self._target.write_bytes(f"{clip.clip_id}/sparse/0/{name}", text.encode(), "text/plain")

    def finish(self) -> None:
        """Does nothing: no file covers several clips."""


def _cameras(frames: ExportFrames) -> str:
    width, height = frames.clip.size
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy"]
    for number, (fx, fy, cx, cy) in enumerate(frames.intrinsics_px.tolist(), 1):
        lines.append(f"{number} PINHOLE {width} {height} {fx} {fy} {cx + CENTER_PX} {cy + CENTER_PX}")
    return "\n".join(lines) + "\n"


def _images(frames: ExportFrames) -> str:
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of (here no) points"]
    pairs = zip(frames.frames.tolist(), frames.cam_from_world.tolist(), strict=True)
    for number, (frame, (tx, ty, tz, qx, qy, qz, qw)) in enumerate(pairs, 1):
        lines += [f"{number} {qw} {qx} {qy} {qz} {tx} {ty} {tz} {number} {image_name(frame)}", ""]
    return "\n".join(lines) + "\n"


def _points(cloud: PointCloud | None) -> str:
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[]"]
    if cloud is not None:
        pairs = zip(cloud.points_world.tolist(), cloud.rgb.tolist(), strict=True)
        lines += [f"{n} {x} {y} {z} {r} {g} {b} 0" for n, ((x, y, z), (r, g, b)) in enumerate(pairs, 1)]
    return "\n".join(lines) + "\n"
