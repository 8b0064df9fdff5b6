"""A small finished data set of rendered clips with exact annotation."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from core.digest import digest_bytes
from models.annotation.map_files import DepthFile, MasksFile, StoredMaps
from storage.manifest import shard_path, table_path, write_manifest, write_shard, write_table
from storage.rows import Row, sample_document
from storage.shard_members import complete_members, npy_bytes, pack_masks
from storage.store import Store
from storage.tables import table_specs
from tests.support.films import Film, film
from tests.support.rendering import write_video
from tests.support.runs import LIMITS, clip_row, draw_samples, failure_row, shot_row, video_row

FPS, SECONDS, STEP = 10, 1.2, 2
SIZE, MAP_SIZE = (192, 108), (96, 54)
CAPTION = {
    "SceneSummary": "A furnished room under even light.",
    "SceneDescription": "Boxes of several sizes stand about in a room; one of them slides.",
    "CameraMotion": "The camera circles the middle of the room at an even pace.",
    "ShotImmersion": "Furniture turns past us as we circle the room.",
    "MotionTrends": ["orbit right"],
    "CategoryTags": {
        "sceneType": {"first": "Interior", "second": "Living Room"},
        "brightness": "Bright",
        "timeOfDay": "Daytime",
        "weather": "Unknown",
        "crowdDensity": "Deserted",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedRun:
    """The data set and the truth of its clips.

    Attributes:
      path: its folder.
      films: what each clip shows, at every frame, by clip id; only for clips with poses.
    """

    path: str
    films: dict[str, Film]


@cache
def filmed(take: str) -> Film:
    return film(take, seconds=SECONDS, fps=FPS, size=SIZE)


def make_annotated_run(folder: Path) -> AnnotatedRun:
    """Writes four kept clips of two videos, a rejected clip and a failed video.

    Kept: orbit, dolly, pan, and one without annotation.
    """
    videos = [video_row("aaaa", "/videos/room.mp4", num_clips=3, num_shots=3)]
    videos += [video_row("bbbb", "/videos/hall.mp4", num_clips=2, num_shots=2)]
    videos += [video_row("cccc", "/videos/broken.mp4", status="failed", num_clips=None, duration_s=None)]
    takes = {("aaaa", 0): "orbit", ("aaaa", 1): "Dolly In", ("bbbb", 0): "Pan Right", ("bbbb", 1): "Stay"}
    rows, members, films = [], {}, {}
    for (video_id, index), take in takes.items():
        video = next(v for v in videos if v["video_id"] == video_id)
        made = filmed(take)
        row = clip_row(video, index, **_cut_columns(folder, made), shard=shard_path(0, 1))
        clip_id = row["clip_id"]
        files = {"mp4": (folder / "clip.mp4").read_bytes()}
        if take != "Stay":
            row |= _motion_columns(take)
            files |= annotation_of(made, has_depth=take != "Pan Right")
            films[clip_id] = made
        else:
            row |= {"num_annotated_frames": 6, "pose_ok": False, "pose_reason": "no texture"}
        if take == "orbit":
            files["caption.json"] = json.dumps(CAPTION).encode()
        rows.append(row)
        members[clip_id] = row, files
    (folder / "clip.mp4").unlink()
    rows.append(clip_row(videos[0], 2, status="rejected", rejection_reasons=["motion_score below 2"], motion_score=0.3))
    for number, row in enumerate(rows):
        draw_samples(folder, row["sample_images"], number)
    shots = [shot_row(video, i) for video in videos for i in range(video["num_shots"] or 0)]
    failures = [failure_row("video", "cccc", "/videos/broken.mp4")]
    _write(folder, {"clips": rows, "videos": videos, "shots": shots, "failures": failures}, members)
    return AnnotatedRun(path=str(folder), films=films)


def annotation_of(made: Film, *, has_depth: bool) -> dict[str, bytes]:
    """The annotation files of a film: truth at every second frame."""
    every = slice(None, None, STEP)
    poses, times = made.cam_from_world[every], made.times_s[every]
    files = {
        "poses.npy": npy_bytes(poses),
        "intrinsics.npy": npy_bytes(made.intrinsics_px[every]),
        "frames.npy": npy_bytes(np.stack([np.arange(len(poses)), STEP * np.arange(len(poses))], axis=1)),
        "times.npy": npy_bytes(times),
        "instructions.json": json.dumps({"0->3": ["Dolly In"], f"3->{len(poses) - 1}": ["Stay"]}).encode(),
    }
    with tempfile.TemporaryDirectory() as folder:
        maps = _stored_maps(made.depth_m[every], made.moving[every])
        masks, depth = MasksFile(f"{folder}/masks.npz", MAP_SIZE), DepthFile(folder, MAP_SIZE, SIZE)
        masks.add(maps.is_moving)
        masks.close()
        pack_masks(f"{folder}/masks.npz", f"{folder}/packed.npz")
        files["dyn_masks.npz"] = Path(f"{folder}/packed.npz").read_bytes()
        depth.add(maps)
        depth.write(f"{folder}/depth.npz", 1.0)
        if has_depth:
            files["depth.npz"] = Path(f"{folder}/depth.npz").read_bytes()
    return files


def _stored_maps(depth: np.ndarray, moving: np.ndarray) -> StoredMaps:
    known = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    small = [cv2.resize(d, MAP_SIZE, interpolation=cv2.INTER_NEAREST_EXACT) for d in known]
    marked = [cv2.resize(m.astype(np.uint8), MAP_SIZE, interpolation=cv2.INTER_AREA) > 0 for m in moving]
    return StoredMaps(depth=np.stack(small), depth_sigma=np.full_like(small, 0.01), is_moving=np.stack(marked))


def _cut_columns(folder: Path, made: Film) -> dict[str, Any]:
    path = write_video(folder / "clip.mp4", made.frames, fps=Fraction(FPS))
    return {
        "video_path": None,
        "num_frames": len(made.frames),
        "fps": float(FPS),
        "width": SIZE[0],
        "height": SIZE[1],
        "resolution": f"{SIZE[0]}x{SIZE[1]}",
        "clip_codec": "h264",
        "clip_width": SIZE[0],
        "clip_height": SIZE[1],
        "clip_num_frames": len(made.frames),
        "clip_duration_s": SECONDS,
        "clip_fps": float(FPS),
        "clip_size_bytes": path.stat().st_size,
        "clip_sha256_128": digest_bytes(path.read_bytes()),
    }


def _motion_columns(take: str) -> dict[str, Any]:
    moves = take != "Pan Right"
    return {
        "num_annotated_frames": 6,
        "pose_ok": True,
        "camera_motion_kind": "general" if moves else "rotation",
        "pose_scale": "relative",
        "move_dist": 0.8 if moves else 0.0,
        "dist_level": 2 if moves else 0,
        "rot_angle": 0.3,
        "traj_turns": 1 if take == "orbit" else 0,
        "dynamic_ratio": 0.02,
        "motion_sentence": f"The camera does this: {take}.",
    }


def _write(folder: Path, tables: dict[str, list[Row]], members: dict[str, tuple[Row, dict[str, bytes]]]) -> None:
    output = Store(str(folder))

    def tar() -> Any:
        for clip_id, (row, files) in sorted(members.items()):
            row["video_path"] = f"{clip_id}.mp4"
            yield f"{clip_id}.json", sample_document(row, {})
            for suffix, data in complete_members(files).items():
                yield f"{clip_id}.{suffix}", data

    written = [write_shard(output, shard_path(0, 1), tar(), len(members))]
    for name, spec in table_specs({}).items():
        rows = sorted(tables[name], key=lambda row, spec=spec: tuple(row[c] for c in spec.sort_key))
        data = pa.Table.from_pylist(rows, schema=spec.schema())
        written.append(write_table(output, table_path(name, 0, 1), data))
    write_manifest(output, written)
    limits = {"config": {"thresholds": {"limits": LIMITS}, "dataset": {"clips_per_shard": 500}}}
    output.write_bytes("run.json", json.dumps(limits).encode(), "application/json")
