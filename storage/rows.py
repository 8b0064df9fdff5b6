"""Rows of the tables, from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.annotations import Shot, VideoAnalysis
from core.columns import row_of
from core.records import ClipRecord, ClipStatus, FailureRecord, VideoRecord
from core.schema import CLIP_COLUMNS, FAILURE_COLUMNS, SHOT_COLUMNS, VIDEO_COLUMNS
from core.scores import NOT_SCORED_REASON, SCORES
from core.serialization import to_json_text
from storage.shard_members import without_missing
from storage.tables import CONVENTIONS

Row = dict[str, Any]
_FLOAT_COLUMNS = frozenset(c.name for c in CLIP_COLUMNS if c.type is float)


def clip_row(clip: ClipRecord) -> Row:
    """The clip table's row of a record."""
    row = row_of(clip, CLIP_COLUMNS)
    if clip.status is ClipStatus.REJECTED:
        row |= {spec.reason_column: NOT_SCORED_REASON for spec in SCORES if spec.name not in clip.scores}
    return row | dict(clip.extra)


def sample_document(row: Row, extra_types: Mapping[str, str]) -> bytes:
    """The JSON of a kept clip's sample: its row, without missing values, and the conventions.

    Args:
      row: the clip's row.
      extra_types: types of the manifest's columns, as for `table_specs`; each value of a column has the same type.
    """
    floats = _FLOAT_COLUMNS | {name for name, kind in extra_types.items() if kind == "double"}
    typed = {name: float(v) if name in floats and v is not None else v for name, v in row.items()}
    return to_json_text(without_missing({**typed, "conventions": CONVENTIONS})).encode("utf-8", "surrogatepass")


def video_row(video: VideoRecord, analysis: VideoAnalysis | None) -> Row:
    """The video table's row of a record; `analysis` is None for a failed video."""
    return row_of({"video": video, "analysis": analysis}, VIDEO_COLUMNS) | dict(video.extra)


def shot_row(video: VideoRecord, index: int, shot: Shot) -> Row:
    """The shot table's row of the `index`-th shot of a video."""
    return row_of({"video": video, "shot_index": index, "shot": shot}, SHOT_COLUMNS)


def failure_row(record: FailureRecord) -> Row:
    """The failure table's row of a failure."""
    return row_of(record, FAILURE_COLUMNS)
