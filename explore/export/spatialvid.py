"""Exports clips in SpatialVID's published layout: videos, annotations, depths, metadata table."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from explore.clips import Clip, ClipRow
from explore.export.frames import ExportFrames, resize_nearest
from explore.export.poses import export_frames, reason_without_poses
from explore.export.tables import csv_text
from explore.extras import import_extra
from storage.shard_members import masks_bytes, npy_bytes
from storage.store import Store

CLIPS_PER_GROUP = 5000
DEPTH_LONGER_SIDE, DEPTH_MULTIPLE = 584, 8
METADATA_PATH = "data/train/SpatialVID_metadata.csv"

# Published column names to ours.
METADATA_COLUMNS: Mapping[str, str] = {
    "num frames": "clip_num_frames",
    "fps": "clip_fps",
    "aesthetic score": "aesthetic_score",
    "luminance score": "luminance_score",
    "motion score": "motion_score",
    "ocr score": "ocr_score",
    "moveDist": "move_dist",
    "distLevel": "dist_level",
    "rotAngle": "rot_angle",
    "trajTurns": "traj_turns",
    "dynamicRatio": "dynamic_ratio",
}


class SpatialVidExport:
    """The layout of the unpacked published archives, in groups of 5,000 clips.

    Files: `videos/group_0001/<clip>.mp4`, `annotations/group_0001/<clip>/` with six files,
    `depths/group_0001/<clip>.zip`, and the metadata CSV.

    Frames without a pose are left out; ordinals count the others. Intrinsics are normalized by width and
    height. Masks have the clip's size. Depths are inverse, half floats in channel Z, 0 where unknown (which the
    published reader turns into its largest depth), resized without a crop so that the longer side is 584.
    """

    def __init__(self, target: Store) -> None:
        self._target = target
        self._rows: list[list[Any]] = []

    def reason_to_skip(self, clip: Clip) -> str | None:
        """Reason why a clip has no poses to export; None if it has."""
        return reason_without_poses(clip)

    def add(self, clip: Clip) -> None:
        """Writes the files of one clip."""
        number = len(self._rows) // CLIPS_PER_GROUP + 1
        group, frames = f"group_{number:04d}", export_frames(clip)
        files: dict[str, bytes] = {
            f"videos/{group}/{clip.clip_id}.mp4": clip.files["mp4"],
            **{f"annotations/{group}/{clip.clip_id}/{name}": data for name, data in annotation_files(frames).items()},
        }
        if clip.depth is not None:
            files[f"depths/{group}/{clip.clip_id}.zip"] = depth_archive(frames)
        for path, data in files.items():
            self._target.write_bytes(path, data, "application/octet-stream")
        self._rows.append(_metadata_row(clip, number))

    def finish(self) -> None:
        """Writes the metadata table."""
        tags = ("motionTags", "sceneType", "brightness", "timeOfDay", "weather", "crowdDensity")
        scores = list(METADATA_COLUMNS)
        names = ["id", "group id", "video path", "annotation path", *scores[:2], "resolution", *scores[2:], *tags]
        self._target.write_bytes(METADATA_PATH, csv_text(names, self._rows).encode(), "text/csv")


def annotation_files(frames: ExportFrames) -> dict[str, bytes]:
    """The six published annotation files of a clip by name."""
    clip = frames.clip
    width, height = clip.size
    fx, fy, cx, cy = frames.intrinsics_px.T
    normalized = np.stack([fx / width, fy / height, (cx + 0.5) / width, (cy + 0.5) / height], axis=1)
    lines = [f"total annotated frames: {len(frames)}"]
    lines += [f"{ordinal} {frame}" for ordinal, frame in enumerate(frames.frames.tolist())]
    files = {
        "poses.npy": npy_bytes(frames.cam_from_world),
        "intrinsics.npy": npy_bytes(normalized),
        "indexes.txt": ("\n".join(lines) + "\n").encode(),
        "instructions.json": json.dumps(_instructions(frames), indent=2).encode(),
        "caption.json": json.dumps(_caption(clip.row), indent=2, ensure_ascii=False).encode(),
    }
    moving = [frames.dynamic_mask(i) for i in range(len(frames))]
    present = [mask for mask in moving if mask is not None]
    if present:
        files["dyn_masks.npz"] = masks_bytes(np.stack(present))
    return files


def _instructions(frames: ExportFrames) -> dict[str, list[str]]:
    """Motion labels by ordinals of the frames with a pose."""
    labels: dict[str, list[str]] = {}
    for span, names in frames.clip.instructions.items():
        first, last = (int(np.searchsorted(frames.ordinals, int(end))) for end in span.split("->"))
        if first < (last := min(last, len(frames) - 1)):
            labels[f"{first}->{last}"] = names
    return labels


def _caption(row: ClipRow) -> dict[str, Any]:
    """Caption and tags under the published keys; empty or "Unknown" where the row has none."""
    texts = {
        "SceneSummary": "scene_summary",
        "SceneDescription": "scene_description",
        "CameraMotion": "camera_motion_caption",
        "ShotImmersion": "shot_immersion",
    }
    tags = {"brightness": "brightness", "timeOfDay": "time_of_day", "weather": "weather"}
    tags["crowdDensity"] = "crowd_density"
    return {
        **{key: row[column] or "" for key, column in texts.items()},
        "MotionTrends": row["motion_trends"] or [],
        "CategoryTags": {
            "sceneType": {"first": row["scene_type"] or "Unknown", "second": row["scene_subtype"] or "Unknown"},
            **{key: row[column] or "Unknown" for key, column in tags.items()},
        },
    }


def depth_archive(frames: ExportFrames) -> bytes:
    """A zip with one OpenEXR inverse depth map per frame, `%05d.exr`.

    Raises:
      OutputError: if OpenEXR is not installed.
    """
    openexr = import_extra("OpenEXR", "export")
    maps = frames.clip.depth
    if maps is None:
        raise ValueError(f"clip {frames.clip.clip_id} has no depth")
    size = depth_size(frames.clip.size)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "map.exr")
        header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        for number, ordinal in enumerate(frames.ordinals.tolist()):
            depth, valid = maps.depth[ordinal].astype(np.float32), maps.is_valid[ordinal]
            inverse = np.divide(1, depth, out=np.zeros_like(depth), where=valid & (depth > 0))
            small = resize_nearest(inverse, size).astype(np.float16)
            openexr.File(header, {"Z": small}).write(path)
            with open(path, "rb") as file:
                archive.writestr(zipfile.ZipInfo(f"{number:05d}.exr"), file.read())
    return data.getvalue()


def depth_size(clip_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of published depth maps: multiples of 8, 584 x 328 for 16:9."""
    scale = DEPTH_LONGER_SIDE / max(clip_size)
    width, height = (max(1, round(side * scale / DEPTH_MULTIPLE)) * DEPTH_MULTIPLE for side in clip_size)
    return width, height


def _metadata_row(clip: Clip, group: int) -> list[Any]:
    row = clip.row
    width, height = clip.size
    scores = [row[column] for column in METADATA_COLUMNS.values()]
    scene = ";".join(row[name] or "Unknown" for name in ("scene_type", "scene_subtype"))
    folder = f"group_{group:04d}/{clip.clip_id}"
    tags = [scene, *(row[name] for name in ("brightness", "time_of_day", "weather", "crowd_density"))]
    motion = ",".join(row["motion_tags"] or [])
    return [clip.clip_id, group, f"{folder}.mp4", folder, *scores[:2], f"{width}x{height}", *scores[2:], motion, *tags]
