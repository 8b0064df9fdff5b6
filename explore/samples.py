"""A few clips to look at, spread over videos and reasons, with small pictures of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from explore.clips import ClipRow
from explore.outputs import read_table
from storage.store import Store

PICTURES_PER_CLIP = 3
SCORE_COLUMNS = ("motion_score", "motion_normalized", "luminance_score", "ocr_score", "aesthetic_score")
TAG_COLUMNS = ("scene_type", "scene_subtype", "brightness", "time_of_day", "weather", "crowd_density")
_COLUMNS = (
    "clip_id",
    "video_id",
    "source_uri",
    "status",
    "rejection_reasons",
    "start_s",
    "end_s",
    "duration_s",
    "shot_boundary_kind",
    "shot_boundary_confidence",
    "sample_images",
    *SCORE_COLUMNS,
    "failure_stage",
    "failure_class",
    "failure_message",
    "shard",
    "clip_num_frames",
    "clip_duration_s",
    "clip_width",
    "clip_height",
    "pose_ok",
    "motion_sentence",
    "scene_description",
    *TAG_COLUMNS,
)

# Reasons take turns, and within a reason videos do. The hash of the id orders the rest, so that the
# choice neither prefers beginnings nor changes between runs.
_PICK_SQL = """
SELECT clip_id FROM (
  SELECT clip_id, draw, row_number() OVER (
    PARTITION BY rejection_reasons, failure_class ORDER BY video_turn, draw, clip_id) AS turn
  FROM (
    SELECT clip_id, rejection_reasons, failure_class, md5(clip_id) AS draw, row_number() OVER (
      PARTITION BY rejection_reasons, failure_class, video_id ORDER BY md5(clip_id), clip_id) AS video_turn
    FROM clips WHERE status = ?))
ORDER BY turn, draw, clip_id LIMIT ?
"""


def pick_clips(output_uri: str, most: Mapping[str, int]) -> dict[str, list[ClipRow]]:
    """Chooses clips by status, the same ones for equal tables.

    Args:
      output_uri: folder of a finished run.
      most: how many clips of each status at most.

    Returns:
      By status, rows of the clip table in order of reasons, source and time.

    Raises:
      OutputError: if the folder is no finished run.
    """
    clips = read_table(output_uri, "clips", list(_COLUMNS))
    keys = clips.select(["clip_id", "video_id", "status", "rejection_reasons", "failure_class"])
    picked = {}
    with duckdb.connect() as database:
        database.register("clips", keys)
        for status, count in most.items():
            ids = [row[0] for row in database.execute(_PICK_SQL, [status, count]).fetchall()]
            rows = _rows_of(clips, ids)
            rows.sort(key=lambda r: (r["rejection_reasons"] or [], r["source_uri"], r["start_s"], r["clip_id"]))
            picked[status] = rows
    return picked


def _display_order(clip: ClipRow) -> tuple[Any, ...]:
    return clip["rejection_reasons"] or [], clip["source_uri"], clip["start_s"], clip["clip_id"]


def missed_columns(clip: ClipRow) -> set[str]:
    """Score columns that the clip's rejection reasons speak of."""
    reasons = clip["rejection_reasons"] or []
    return {column for column in SCORE_COLUMNS for r in reasons if r.startswith(f"{column} ")}


def _rows_of(clips: pa.Table, ids: Sequence[str]) -> list[ClipRow]:
    mask = pc.is_in(clips["clip_id"], value_set=pa.array(ids, pa.string()))
    return clips.filter(mask).to_pylist()


def load_pictures(output: Store, clip: ClipRow, box: tuple[int, int]) -> list[Image.Image]:
    """Small pictures of a clip: its first, middle and last sample image that can still be read.

    Args:
      output: the run's folder.
      clip: its row.
      box: (width, height) in pixels that each picture fits into; the aspect ratio is kept.
    """
    paths = clip["sample_images"] or []
    if len(paths) > PICTURES_PER_CLIP:
        last = len(paths) - 1
        paths = [paths[round(i * last / (PICTURES_PER_CLIP - 1))] for i in range(PICTURES_PER_CLIP)]
    return [picture for path in paths if (picture := _load_picture(output, path, box))]


def _load_picture(output: Store, path: str, box: tuple[int, int]) -> Image.Image | None:
    """One picture; None where the store was cleaned up or the file is no picture."""
    try:
        with Image.open(io.BytesIO(output.read_bytes(path)), formats=("JPEG", "PNG")) as image:
            image.draft("RGB", (2 * box[0], 2 * box[1]))
            picture = image.convert("RGB")
            picture.thumbnail(box, Image.Resampling.LANCZOS)
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
