"""A sample of clips to look at, stratified by reason and video, with thumbnails."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from core.columns import Tier
from core.schema import CHARTED_COLUMNS, TAG_COLUMNS
from explore.clips import ClipRow
from explore.outputs import read_table
from storage.store import Store

THUMBNAILS_PER_CLIP = 3
# A clip's duration is shown beside its times.
SCORES = {
    c.name: c.title.lower().rpartition(", ")[2]
    for c in CHARTED_COLUMNS
    if c.tier is not Tier.LATE and c.name != "duration_s"
}
TAGS = tuple(c.name for c in TAG_COLUMNS)
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
    *SCORES,
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
    *TAGS,
)

# Round robin over reasons, and within a reason over videos. The hash of the id orders the rest, so that the sample
# neither prefers beginnings nor changes between runs.
_SAMPLE_SQL = """
SELECT clip_id FROM (
  SELECT clip_id, draw, row_number() OVER (
    PARTITION BY rejection_reasons, failure_class ORDER BY video_turn, draw, clip_id) AS turn
  FROM (
    SELECT clip_id, rejection_reasons, failure_class, md5(clip_id) AS draw, row_number() OVER (
      PARTITION BY rejection_reasons, failure_class, video_id ORDER BY md5(clip_id), clip_id) AS video_turn
    FROM clips WHERE status = ?))
ORDER BY turn, draw, clip_id LIMIT ?
"""


def sample_clips(output_uri: str, max_clips: Mapping[str, int]) -> dict[str, list[ClipRow]]:
    """A stratified sample of clips by status, equal for equal tables.

    Args:
      output_uri: folder of a finished run.
      max_clips: largest number of clips by status.

    Returns:
      By status, rows of the clip table in order of reasons, source and time.

    Raises:
      OutputError: if the folder is no finished run.
    """
    clips = read_table(output_uri, "clips", list(_COLUMNS))
    keys = clips.select(["clip_id", "video_id", "status", "rejection_reasons", "failure_class"])
    sampled = {}
    with duckdb.connect() as database:
        database.register("clips", keys)
        for status, count in max_clips.items():
            ids = [row[0] for row in database.execute(_SAMPLE_SQL, [status, count]).fetchall()]
            rows = _rows_of(clips, ids)
            rows.sort(key=lambda r: (r["rejection_reasons"] or [], r["source_uri"], r["start_s"], r["clip_id"]))
            sampled[status] = rows
    return sampled


def missed_columns(clip: ClipRow) -> set[str]:
    """Score columns whose limits the clip misses, by its rejection reasons."""
    reasons = clip["rejection_reasons"] or []
    return {column for column in SCORES for r in reasons if r.startswith(f"{column} ")}


def _rows_of(clips: pa.Table, ids: Sequence[str]) -> list[ClipRow]:
    mask = pc.is_in(clips["clip_id"], value_set=pa.array(ids, pa.string()))
    return clips.filter(mask).to_pylist()


def load_thumbnails(output: Store, clip: ClipRow, box: tuple[int, int]) -> list[Image.Image]:
    """Thumbnails of a clip: its first, middle and last sample image, as far as readable.

    Args:
      output: the run's folder.
      clip: its row.
      box: (width, height) in pixels that each thumbnail fits into; the aspect ratio is kept.
    """
    paths = clip["sample_images"] or []
    if len(paths) > THUMBNAILS_PER_CLIP:
        last = len(paths) - 1
        paths = [paths[round(i * last / (THUMBNAILS_PER_CLIP - 1))] for i in range(THUMBNAILS_PER_CLIP)]
    return [image for path in paths if (image := _load_thumbnail(output, path, box))]


def _load_thumbnail(output: Store, path: str, box: tuple[int, int]) -> Image.Image | None:
    """One thumbnail; None where the file is gone or no image."""
    try:
        with Image.open(io.BytesIO(output.read_bytes(path)), formats=("JPEG", "PNG")) as full:
            full.draft("RGB", (2 * box[0], 2 * box[1]))
            image = full.convert("RGB")
            image.thumbnail(box, Image.Resampling.LANCZOS)
            return image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
