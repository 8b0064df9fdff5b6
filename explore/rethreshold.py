"""Applies other thresholds to the scores of a finished run, without decoding."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from core.schema import LATE_COLUMNS, MODEL_COLUMNS
from core.scores import NOT_SCORED_REASON, SCORE_COLUMNS
from core.thresholds import ThresholdSettings, Verdict, apply_limits
from explore.outputs import read_table
from storage.store import Store
from storage.uris import normalize_uri

MAX_IDS_SHOWN = 20
CUT_COLUMN = "clip_codec"
"""Null in clips that were never cut, and so were never annotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChanges:
    """Changes of verdicts under other limits.

    Attributes:
      newly_kept, newly_rejected: clip ids.
      unscored: clips that pass the cheap limits but have no model score or annotation, since the run rejected
        them earlier; a run with these limits would score them.
      reasons: clips by reason under the new limits.
    """

    kept_before: int
    kept_after: int
    failed: int
    newly_kept: tuple[str, ...]
    newly_rejected: tuple[str, ...]
    unscored: tuple[str, ...]
    reasons: dict[str, int]
    written: str | None


def rethreshold(output_uri: str, settings: ThresholdSettings, write_to: str | None = None) -> VerdictChanges:
    """Applies the limits of `settings` to every clip of a finished run.

    Args:
      output_uri: folder of the run.
      settings: the limits.
      write_to: Parquet file (path or fsspec URI) for the clip table with the new `status`,
        `rejection_reasons` and `unchecked_limits`; `shard` and `video_path` are null where a clip is not
        kept any more. The run itself is not touched.

    Raises:
      OutputError: if the folder is no finished run.
    """
    limited = sorted(column for column, limit in settings.limits.items() if limit is not None)
    reasons = [SCORE_COLUMNS[column].reason_column for column in limited if column in SCORE_COLUMNS]
    groups = ["duplicate_group"] if settings.reject_duplicates else []
    columns = dict.fromkeys(["clip_id", "status", CUT_COLUMN, *groups, *limited, *reasons])
    table = read_table(output_uri, "clips", list(columns))
    rows = table.to_pylist()
    verdicts = [None if row["status"] == "failed" else apply_limits(row, settings) for row in rows]
    statuses = [_status(verdict) for verdict in verdicts]
    pairs = list(zip(rows, verdicts, statuses, strict=True))
    if write_to:
        _write(output_uri, verdicts, statuses, write_to)
    return VerdictChanges(
        kept_before=sum(row["status"] == "kept" for row in rows),
        kept_after=statuses.count("kept"),
        failed=statuses.count("failed"),
        newly_kept=tuple(r["clip_id"] for r, _, s in pairs if s == "kept" != r["status"]),
        newly_rejected=tuple(r["clip_id"] for r, _, s in pairs if s == "rejected" != r["status"]),
        unscored=tuple(r["clip_id"] for r, v, _ in pairs if v is not None and _lacks_scores(r, v, settings)),
        reasons=dict(sorted(Counter(reason for v in verdicts if v for reason in v.reasons).items())),
        written=write_to,
    )


def _status(verdict: Verdict | None) -> str:
    if verdict is None:
        return "failed"
    return "kept" if verdict.is_kept else "rejected"


def _lacks_scores(row: dict[str, object], verdict: Verdict, settings: ThresholdSettings) -> bool:
    """Whether the verdict on a clip depends on scores or annotations that it lacks."""
    models = [c for c in verdict.unchecked if c in SCORE_COLUMNS]
    unscored = [c for c in models if row[SCORE_COLUMNS[c].reason_column] == NOT_SCORED_REASON]
    if row["status"] == "rejected" and row[CUT_COLUMN] is None:
        unscored += [c for c in verdict.unchecked if c in LATE_COLUMNS]
    return bool(unscored) and apply_limits(row, settings, skip=LATE_COLUMNS | MODEL_COLUMNS).is_kept


def _write(output_uri: str, verdicts: list[Verdict | None], statuses: list[str], write_to: str) -> None:
    table = read_table(output_uri, "clips")
    kept = pa.array([status == "kept" for status in statuses])
    changes = {
        "status": pa.array(statuses),
        "rejection_reasons": _texts(table["rejection_reasons"], [v.reasons if v else None for v in verdicts]),
        "unchecked_limits": _texts(table["unchecked_limits"], [v.unchecked if v else None for v in verdicts]),
        "shard": pc.if_else(kept, table["shard"], None),
        "video_path": pc.if_else(kept, table["video_path"], None),
    }
    for name, values in changes.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), values)
    folder, name = os.path.split(normalize_uri(write_to))
    with tempfile.TemporaryDirectory(prefix="spatialbeam-") as temporary:
        local = os.path.join(temporary, "table.parquet")
        pq.write_table(table, local, compression="zstd")
        Store(folder).put_file(local, name, "application/vnd.apache.parquet")


def _texts(old: pa.ChunkedArray, new: list[tuple[str, ...] | None]) -> pa.Array:
    """(n,) lists of text: the new ones, or the old ones where None."""
    values = [before if now is None else list(now) for before, now in zip(old.to_pylist(), new, strict=True)]
    return pa.array(values, pa.list_(pa.string()))


def print_changes(changes: VerdictChanges, console: Console) -> None:
    """Prints the changes."""
    table = Table("", "clips", show_header=False)
    table.add_row("kept now", str(changes.kept_before))
    table.add_row("kept under these limits", str(changes.kept_after))
    table.add_row("  newly kept", str(len(changes.newly_kept)))
    table.add_row("  newly rejected", str(len(changes.newly_rejected)))
    for reason, count in changes.reasons.items():
        table.add_row(f"rejected: {reason}", str(count))
    console.print(table)
    for title, ids in (("newly kept", changes.newly_kept), ("newly rejected", changes.newly_rejected)):
        for clip_id in ids[:MAX_IDS_SHOWN]:
            console.print(f"{title}: {clip_id}", markup=False, highlight=False)
        if len(ids) > MAX_IDS_SHOWN:
            console.print(f"{title}: and {len(ids) - MAX_IDS_SHOWN} more")
    if changes.unscored:
        console.print(
            f"{len(changes.unscored)} clips that pass the cheap limits were never scored by the models or annotated: "
            "run the job again with these limits. Only what they lack is computed; no video is analyzed twice."
        )
    if changes.written:
        console.print(f"written: {changes.written}", markup=False, highlight=False)
