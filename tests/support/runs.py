"""A small finished run made of rows, for tests that read outputs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from core.scores import NOT_SCORED_REASON
from storage.rows import Row
from storage.tables import table_specs

LIMITS = {
    "aesthetic_score": {"min": 4.0, "max": None},
    "luminance_score": {"min": 20.0, "max": 140.0},
    "motion_score": {"min": 2.0, "max": 14.0},
    "ocr_score": {"min": None, "max": 0.3},
}
_COLORS = ("#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#457b9d")


def video_row(video_id: str, uri: str, **changes: Any) -> Row:
    """A video that went well."""
    return {
        "video_id": video_id,
        "source_uri": uri,
        "status": "done",
        "fingerprint": "1000-1",
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "fps": 25.0,
        "is_variable_frame_rate": False,
        "num_frames": 1000,
        "duration_s": 40.0,
        "decode_errors": 0,
        "num_shots": 0,
        "num_clips": 0,
        **changes,
    }


def clip_row(video: Row, index: int, **changes: Any) -> Row:
    """A kept clip of four seconds, the `index`-th of its video."""
    clip_id = f"{video['video_id']}_{index:05d}"
    return {
        "clip_id": clip_id,
        "video_id": video["video_id"],
        "source_uri": video["source_uri"],
        "status": "kept",
        "rejection_reasons": [],
        "unchecked_limits": ["aesthetic_score"],
        "num_frames": 100,
        "fps": 25.0,
        "width": 1280,
        "height": 720,
        "start_frame": 125 * index,
        "end_frame": 125 * index + 100,
        "start_s": 5.0 * index,
        "end_s": 5.0 * index + 4.0,
        "duration_s": 4.0,
        "shot_index": index,
        "shot_boundary_kind": "cut" if index else "start",
        "shot_boundary_confidence": 0.93 if index else None,
        "sample_frames": [125 * index + 10, 125 * index + 50, 125 * index + 90],
        "sample_images": [f"store/samples/{clip_id}/{k}.jpg" for k in range(3)],
        "luminance_score": 90.0 + index,
        "motion_score": 4.0 + 0.5 * index,
        "motion_normalized": 1.5,
        "ocr_score": 0.05,
        "ocr_model": "detector v1 sha256:0011",
        "aesthetic_score": None,
        "aesthetic_reason": "no weights given",
        **changes,
    }


def shot_row(video: Row, index: int, **changes: Any) -> Row:
    """The `index`-th shot of a video, five seconds long."""
    return {
        "video_id": video["video_id"],
        "source_uri": video["source_uri"],
        "shot_index": index,
        "start_frame": 125 * index,
        "end_frame": 125 * index + 125,
        "start_s": 5.0 * index,
        "end_s": 5.0 * index + 5.0,
        "boundary_kind": "cut" if index else "start",
        "boundary_start_frame": 125 * index,
        "boundary_confidence": 0.93 if index else None,
        **changes,
    }


def failure_row(item: str, key: str, uri: str, **changes: Any) -> Row:
    """A failure that the input is to blame for."""
    return {
        "item": item,
        "key": key,
        "source_uri": uri,
        "stage": "Probe",
        "error_class": "NotAVideo",
        "message": "moov atom not found Remedy: download the file again.",
        "is_bug": False,
        "attempts": 1,
        **changes,
    }


def small_tables() -> dict[str, list[Row]]:
    """Three videos, one of them failed; six shots; two clips kept, two rejected, one failed."""
    first = video_row("aaaa", "/videos/harbour.mp4", num_shots=4, num_clips=3)
    second = video_row(
        "bbbb",
        "/videos/night.mkv",
        num_shots=2,
        num_clips=2,
        decode_errors=7,
        first_decode_error="bad NAL unit",
    )
    failure = {
        "failure_stage": "CutClips",
        "failure_class": "EncodeFailed",
        "failure_message": "disk is full",
    }
    broken = video_row(
        "cccc",
        "/videos/notes.txt.mp4",
        status="failed",
        failure_stage="Probe",
        failure_class="NotAVideo",
        failure_message="moov atom not found",
        **dict.fromkeys(("codec", "width", "height", "fps", "duration_s", "num_shots", "num_clips")),
    )
    early = {"status": "rejected", "ocr_score": None, "ocr_reason": NOT_SCORED_REASON, "ocr_model": None}
    clips = [
        clip_row(first, 0),
        clip_row(first, 1),
        clip_row(first, 2, **early, motion_score=0.4, rejection_reasons=["motion_score below 2"]),
        clip_row(
            second,
            0,
            **early,
            motion_score=1.1,
            luminance_score=9.0,
            rejection_reasons=["luminance_score below 20", "motion_score below 2"],
        ),
        clip_row(second, 1, status="failed", **failure),
    ]
    failures = [
        failure_row("clip", "bbbb_00001", second["source_uri"], stage="CutClips", error_class="EncodeFailed"),
        failure_row("video", "cccc", broken["source_uri"]),
    ]
    shots = [shot_row(first, i) for i in range(4)] + [shot_row(second, i) for i in range(2)]
    return {"videos": [first, second, broken], "clips": clips, "shots": shots, "failures": failures}


def make_run(folder: Path, tables: dict[str, list[Row]] | None = None, *, images: bool = True) -> str:
    """Writes a finished run: tables with their schemas, sample images, a shard, and the manifest.

    Args:
      folder: the output folder; made if it does not exist.
      tables: rows by table; `small_tables()` if None. Columns left out are null.
      images: whether the sample images that the rows name are drawn.
    """
    tables = small_tables() if tables is None else tables
    files = [_write_shard(folder, [r["clip_id"] for r in tables["clips"] if r["status"] == "kept"])]
    for name, spec in table_specs({}).items():
        rows = sorted(tables[name], key=lambda row, spec=spec: tuple(row[c] for c in spec.sort_key))
        data = pa.Table.from_pylist(rows, schema=spec.schema())
        path = folder / f"{name}.parquet" / "part-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(data, path, compression="zstd")
        files.append(_listed(folder, path, len(rows)))
    if images:
        for number, row in enumerate(tables["clips"]):
            draw_samples(folder, row["sample_images"], number)
    files.sort(key=lambda file: file["path"])
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return str(folder)


def draw_samples(folder: Path, paths: Sequence[str], number: int) -> None:
    """Draws small images that differ by clip and by sample."""
    for k, name in enumerate(paths):
        image = Image.new("RGB", (320, 180), _COLORS[number % len(_COLORS)])
        draw = ImageDraw.Draw(image)
        draw.ellipse((40 + 60 * k, 50, 120 + 60 * k, 130), fill="#f1faee")
        draw.rectangle((0, 150, 320, 180), fill="#1d3557")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "JPEG", quality=85)


def _write_shard(folder: Path, clip_ids: Sequence[str]) -> dict[str, Any]:
    path = folder / "shards" / "clips-00000-of-00001.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for clip_id in clip_ids:
            member = tarfile.TarInfo(f"{clip_id}.json")
            member.size = 2
            tar.addfile(member, io.BytesIO(b"{}"))
    return _listed(folder, path, len(clip_ids))


def _listed(folder: Path, path: Path, count: int) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "path": path.relative_to(folder).as_posix(),
        "count": count,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
