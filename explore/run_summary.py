"""Run summary: values of a finished run that its report shows, aggregated from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow.compute as pc

from core.accounting import Accounting
from core.columns import Tier
from core.schema import CHARTED_COLUMNS, MODEL_COLUMNS
from core.thresholds import Limit
from explore.histograms import STATUSES, Histogram, make_histogram
from explore.outputs import fetch_pairs, fetch_rows, fetch_scalar, read_accounting, read_run, read_table
from explore.stats import CLIP_COLUMNS, StatsTable, collect_stats
from storage.store import Store

MAX_ROWS = 200
# Small integers are shown as bars of their values.
_HISTOGRAMS = tuple(column for column in CHARTED_COLUMNS if column.type is float)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """A rejection reason: clips with it, their seconds, and clips with it alone."""

    reason: str
    clips: int
    seconds: float
    alone: int


Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """All values of a report.

    Attributes:
      shots_without_clip: shots without a candidate clip.
      video_s: decoded duration of all videos, seconds.
      clip_s: duration of the clips by status, seconds.
      unchecked: kept clips by limit that could not be checked on them.
      histograms: histograms of scores over all clips.
      motion: histograms of annotated values over kept clips.
      pose_failures: kept clips without usable poses by reason, with numbers replaced by "…".
      caption_failures: kept clips whose caption failed, likewise.
      stats: the tables of `explore.stats`.
      caption_models: clips by model that wrote their caption.
      run: content of `run.json`; empty where there is none.
      videos: rows of the video table with `kept`, those with problems first, at most `MAX_ROWS`.
      failure_groups: counts of failures by item, stage and class.
      failures: rows of the failure table, at most `MAX_ROWS`.
    """

    accounting: Accounting
    shots_without_clip: int
    video_s: float
    clip_s: Mapping[str, float]
    reasons: tuple[ReasonCount, ...]
    unchecked: tuple[tuple[str, int], ...]
    histograms: tuple[Histogram, ...]
    motion: tuple[Histogram, ...]
    pose_failures: tuple[tuple[str, int], ...]
    caption_failures: tuple[tuple[str, int], ...]
    stats: tuple[StatsTable, ...]
    caption_models: tuple[tuple[str, int], ...]
    run: Mapping[str, Any]
    videos: Rows
    failure_groups: Rows
    failures: Rows


def gather_run_summary(output_uri: str, limits: Mapping[str, Limit]) -> RunSummary:
    """Aggregates the tables of a finished run.

    Args:
      output_uri: folder of the run.
      limits: thresholds by column, as far as known.

    Raises:
      OutputError: if the folder is no finished run.
    """
    columns = {"shot_index", "unchecked_limits", "pose_reason", "caption_reason", "caption_model", *CLIP_COLUMNS}
    columns |= {column.name for column in CHARTED_COLUMNS} | MODEL_COLUMNS
    clips = read_table(output_uri, "clips", sorted(columns))
    kept = clips.filter(pc.equal(clips["status"], "kept"))
    # One thread: floating-point sums must not depend on thread order.
    with duckdb.connect(config={"threads": 1}) as database:
        database.register("clips", clips)
        for name in ("videos", "shots", "failures"):
            database.register(name, read_table(output_uri, name))
        clip_s = dict.fromkeys(STATUSES, 0.0)
        clip_s |= fetch_pairs(database, "SELECT status, coalesce(fsum(duration_s), 0) FROM clips GROUP BY 1")
        return RunSummary(
            accounting=read_accounting(output_uri),
            shots_without_clip=fetch_scalar(
                database, "SELECT count(*) FROM shots ANTI JOIN clips USING (video_id, shot_index)"
            ),
            video_s=fetch_scalar(database, "SELECT coalesce(fsum(duration_s), 0) FROM videos"),
            clip_s=clip_s,
            reasons=_count_reasons(database),
            unchecked=tuple(
                fetch_pairs(
                    database,
                    "SELECT name, count(*) FROM (SELECT unnest(unchecked_limits) AS name FROM clips "
                    "WHERE status = 'kept') GROUP BY 1 ORDER BY 2 DESC, 1",
                ).items()
            ),
            histograms=tuple(
                make_histogram(database, clips, column, limits.get(column.name, Limit()))
                for column in _HISTOGRAMS
                if column.tier is not Tier.LATE
            ),
            motion=tuple(
                make_histogram(database, kept, column, limits.get(column.name, Limit()), with_missing=False)
                for column in _HISTOGRAMS
                if column.tier is Tier.LATE
            ),
            pose_failures=_reasons_without(database, "pose_reason", "NOT pose_ok"),
            caption_failures=_reasons_without(database, "caption_reason", "caption_reason IS NOT NULL"),
            stats=tuple(collect_stats(database)),
            caption_models=tuple(
                fetch_pairs(
                    database,
                    "SELECT caption_model, count(*) FROM clips WHERE caption_model IS NOT NULL GROUP BY 1 "
                    f"ORDER BY 2 DESC, 1 LIMIT {MAX_ROWS}",
                ).items()
            ),
            run=read_run(Store(output_uri)),
            videos=fetch_rows(database, _VIDEOS_SQL),
            failure_groups=fetch_rows(database, _FAILURE_GROUPS_SQL),
            failures=fetch_rows(
                database,
                "SELECT item, key, source_uri, stage, error_class, message, is_bug, attempts FROM failures "
                f"ORDER BY is_bug DESC, item, key, source_uri, stage LIMIT {MAX_ROWS}",
            ),
        )


_VIDEOS_SQL = f"""
SELECT v.video_id, v.source_uri, v.status, v.width, v.height, v.codec, v.fps, v.is_variable_frame_rate,
  v.duration_s, v.num_shots, v.num_clips, coalesce(k.kept, 0) AS kept, v.decode_errors,
  v.first_decode_error, v.failure_class, v.failure_message
FROM videos v LEFT JOIN
  (SELECT video_id, count(*) AS kept FROM clips WHERE status = 'kept' GROUP BY 1) k USING (video_id)
ORDER BY v.status = 'failed' DESC, coalesce(v.decode_errors, 0) DESC, v.source_uri, v.video_id
LIMIT {MAX_ROWS}
"""

_FAILURE_GROUPS_SQL = f"""
SELECT item, stage, error_class, is_bug, count(*) AS count FROM failures
GROUP BY ALL ORDER BY count DESC, item, stage, error_class, is_bug LIMIT {MAX_ROWS}
"""


def _reasons_without(database: duckdb.DuckDBPyConnection, column: str, condition: str) -> tuple[tuple[str, int], ...]:
    """Counts of kept clips by a reason column, with numbers in it replaced by "…"."""
    reason = f"regexp_replace(coalesce({column}, 'no reason recorded'), '[0-9]+', '…', 'g')"
    sql = f"SELECT {reason}, count(*) FROM clips WHERE status = 'kept' AND {condition} GROUP BY 1"
    return tuple(fetch_pairs(database, f"{sql} ORDER BY 2 DESC, 1 LIMIT {MAX_ROWS}").items())


def _count_reasons(database: duckdb.DuckDBPyConnection) -> tuple[ReasonCount, ...]:
    rows = fetch_rows(
        database,
        "SELECT reason, count(*) AS clips, fsum(duration_s) AS seconds, count(*) FILTER (num = 1) AS alone FROM "
        "(SELECT unnest(rejection_reasons) AS reason, len(rejection_reasons) AS num, duration_s FROM clips "
        "WHERE status = 'rejected') GROUP BY 1 ORDER BY 2 DESC, 1",
    )
    return tuple(ReasonCount(**row) for row in rows)
