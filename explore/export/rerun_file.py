"""Exports clips as rerun recordings: frames, camera, depth, masks, points and motion labels over time."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from core.cameras import invert_poses
from explore.clips import Clip
from explore.export.frames import ExportFrames
from explore.export.poses import export_frames, reason_without_poses
from explore.extras import import_extra
from media.images import encode_jpeg
from storage.store import Store

POINTS_PER_FRAME = 4000
_TIMELINE = "clip time"


class RerunExport:
    """`<clip>.rrd` for each clip."""

    def __init__(self, target: Store) -> None:
        self._target = target
        self._rerun: Any = import_extra("rerun", "export")

    def reason_to_skip(self, clip: Clip) -> str | None:
        """Reason why a clip has no poses to export; None if it has."""
        return reason_without_poses(clip)

    def add(self, clip: Clip) -> None:
        """Writes the recording of one clip."""
        rr = self._rerun
        recording = rr.RecordingStream("spatialbeam", recording_id=clip.clip_id, send_properties=False)
        with tempfile.TemporaryDirectory(prefix="spatialbeam-rerun-") as folder:
            path = os.path.join(folder, "clip.rrd")
            recording.save(path)
            self._log(recording, export_frames(clip))
            recording.disconnect()
            self._target.put_file(path, f"{clip.clip_id}.rrd", "application/octet-stream")

    def finish(self) -> None:
        """Does nothing: no file covers several clips."""

    def _log(self, recording: Any, frames: ExportFrames) -> None:
        rr, clip = self._rerun, frames.clip
        world_from_cam = invert_poses(frames.cam_from_world)
        recording.log("world", rr.ViewCoordinates.RDF, static=True)
        recording.log("world/path", rr.LineStrips3D([world_from_cam[:, :3]]), static=True)
        lines = [f"{key}: {value}" for key, value in clip.row.items() if value not in (None, [])]
        recording.log("row", rr.TextDocument("\n".join(lines)), static=True)
        labels = _labels_by_ordinal(clip)
        for i, image in enumerate(frames.images()):
            recording.set_time(_TIMELINE, duration=float(frames.times_s[i]))
            recording.set_time("frame", sequence=int(frames.frames[i]))
            tx, ty, tz, *quaternion = world_from_cam[i].tolist()
            pose = rr.Transform3D(translation=[tx, ty, tz], quaternion=rr.Quaternion(xyzw=quaternion))
            recording.log("world/camera", pose)
            fx, fy, cx, cy = frames.intrinsics_px[i].tolist()
            # rerun's pixel centers lie at halves.
            pinhole = rr.Pinhole(
                focal_length=[fx, fy],
                principal_point=[cx + 0.5, cy + 0.5],
                resolution=clip.size,
                camera_xyz=rr.ViewCoordinates.RDF,
            )
            recording.log("world/camera/image", pinhole)
            jpeg = rr.EncodedImage(contents=encode_jpeg(image), media_type="image/jpeg")
            recording.log("world/camera/image/rgb", jpeg)
            depth, moving = frames.depth_map(i), frames.dynamic_mask(i)
            cloud = frames.point_cloud(i, image, POINTS_PER_FRAME)
            if depth is not None:
                recording.log("world/camera/image/depth", rr.DepthImage(depth, meter=1.0))
            if moving is not None:
                recording.log("world/camera/image/moving", rr.SegmentationImage(moving.astype(np.uint8)))
            if cloud is not None:
                recording.log("world/points", rr.Points3D(cloud.points_world, colors=cloud.rgb))
            recording.log("motion", rr.TextLog(", ".join(labels.get(int(frames.ordinals[i]), ["Stay"]))))


def _labels_by_ordinal(clip: Clip) -> dict[int, list[str]]:
    """Motion labels at each annotated frame."""
    labels = {}
    for span, names in clip.instructions.items():
        first, last = map(int, span.split("->"))
        labels.update(dict.fromkeys(range(first, last + 1), names))
    return labels
