"""Exports clips as nerfstudio scenes: `transforms.json` with images, masks and depth maps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from core.cameras import invert_poses, pose_matrices
from explore.clips import Clip
from explore.export.frames import encode_png
from explore.export.poses import export_frames, image_name, reason_without_poses
from media.images import encode_jpeg
from storage.store import Store

# nerfstudio's pixel centers lie at halves; its cameras look along -z with y up (OpenGL).
CENTER_PX = 0.5
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
DEPTH_UNIT = 1e-3
_MAX_DEPTH_CODE = 65535


class NerfstudioExport:
    """`<clip>/transforms.json`, `images/`, `masks/` (black = moving, ignored) and `depth/` for each clip.

    Depth is 16 bit in thousandths of the poses' unit (nerfstudio's default `depth_unit_scale_factor`), 0 where
    unknown, at most 65.535 units.
    """

    def __init__(self, target: Store) -> None:
        self._target = target

    def reason_to_skip(self, clip: Clip) -> str | None:
        """Reason why a clip has no poses to export; None if it has."""
        return reason_without_poses(clip)

    def add(self, clip: Clip) -> None:
        """Writes the scene of one clip."""
        frames = export_frames(clip)
        width, height = clip.size
        camera_to_world = pose_matrices(invert_poses(frames.cam_from_world)) @ OPENGL_FROM_OPENCV
        entries = []
        for i, (frame, image) in enumerate(zip(frames.frames.tolist(), frames.images(), strict=True)):
            fx, fy, cx, cy = frames.intrinsics_px[i].tolist()
            entry: dict[str, Any] = {
                "file_path": f"images/{image_name(frame)}",
                "transform_matrix": camera_to_world[i].tolist(),
                **{"fl_x": fx, "fl_y": fy, "cx": cx + CENTER_PX, "cy": cy + CENTER_PX},
                "time": float(frames.times_s[i]),
            }
            self._write(clip, entry["file_path"], encode_jpeg(image), "image/jpeg")
            depth, moving = frames.depth_map(i), frames.dynamic_mask(i)
            if depth is not None:
                entry["depth_file_path"] = f"depth/frame_{frame:05d}.png"
                code = np.minimum(np.rint(depth / DEPTH_UNIT), _MAX_DEPTH_CODE).astype(np.uint16)
                self._write(clip, entry["depth_file_path"], encode_png(code), "image/png")
            if moving is not None:
                entry["mask_path"] = f"masks/frame_{frame:05d}.png"
                mask = encode_png(np.where(moving, 0, 255).astype(np.uint8))
                self._write(clip, entry["mask_path"], mask, "image/png")
            entries.append(entry)
        scene = {"camera_model": "OPENCV", "w": width, "h": height, "frames": entries}
        self._write(clip, "transforms.json", json.dumps(scene, indent=1).encode(), "application/json")

    def finish(self) -> None:
        """Does nothing: no file covers several clips."""

    def _write(self, clip: Clip, path: str, data: bytes, media_type: str) -> None:
        self._target.write_bytes(f"{clip.clip_id}/{path}", data, media_type)
