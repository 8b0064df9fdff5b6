"""The figures of a finished run, aggregated from its tables: what a report shows, apart from how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.accounting import Accounting
from core.arrays import Float64Array, Int64Array
from explore.outputs import read_accounting, read_run, read_table
from explore.stats import CLIP_COLUMNS, StatsTable, collect_stats
from storage.store import Store

STATUSES = ("kept", "rejected", "failed")
MAX_ROWS = 200
_TAIL = 3.0


@dataclass(frozen=True, slots=True)
class Score:
    """A column whose distribution is shown.

    Attributes:
      column: name in the clip table.
      title: name for people.
      unit: unit or scale, for people.
      domain: fixed range of the axis, where the scale has one.
      bins: bars of the histogram; with a fixed range, round limits then fall between two bars.
    """

    column: str
    title: str
    unit: str
    domain: tuple[float, float] | None = None
    bins: int = 40


SCORES = (
    Score("luminance_score", "Luminance", "mean of the sample images, 0 to 255", (0.0, 255.0), bins=51),
    Score("motion_score", "Motion", "VMAF motion at native size, luma units a frame"),
    Score("motion_normalized", "Motion, normalized", "thumbnail change in 0.1 s, luma units"),
    Score("ocr_score", "Text", "share of the image under text, 0 to 1", (0.0, 1.0), bins=50),
    Score("aesthetic_score", "Aesthetic", "LAION score, about 0 to 10", (0.0, 10.0), bins=50),
    Score("duration_s", "Duration", "seconds"),
)
MOTION_SCORES = (
    Score("move_dist", "Length of the path", "units in which the 98th percentile of inverse depth is 2"),
    Score("rot_angle", "Rotation", "radians, summed"),
    Score("dynamic_ratio", "Moving pixels", "mean share, 0 to 1", (0.0, 1.0), bins=50),
    Score("depth_valid_share", "Pixels with depth", "share, 0 to 1", (0.0, 1.0), bins=50),
)
_REASON_COLUMNS = {"ocr_score": "ocr_reason", "aesthetic_score": "aesthetic_reason"}
_MODEL_COLUMNS = {"ocr_score": "ocr_model", "aesthetic_score": "aesthetic_model"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inclusive limits of a column; None where a side is open."""

    least: float | None = None
    largest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How a score is spread over the clips.

    Attributes:
      edges: (n + 1,) bin edges; the last bin also holds `num_beyond` larger values.
      counts: by status, (n,) clips in each bin.
      quantiles: least, 5 %, 50 %, 95 % and largest value; None without values.
      below, above: clips that miss a limit.
      missing: clips without a value by reason, most frequent first.
      models: models behind the score.
    """

    score: Score
    bounds: Bounds
    num_values: int
    edges: Float64Array
    counts: Mapping[str, Int64Array]
    quantiles: tuple[float, ...] | None
    below: int
    above: int
    num_beyond: int
    missing: tuple[tuple[str, int], ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """A rejection reason: clips that have it, their length in seconds, and those that have no other."""

    reason: str
    clips: int
    seconds: float
    alone: int


Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """All figures of a report.

    Attributes:
      shots_without_clip: shots that no candidate clip lies in.
      video_s: decoded duration of all videos, seconds.
      clip_s: duration of the clips by status, seconds.
      unchecked: kept clips by limit that could not be checked on them.
      motion: distributions of what the annotation measured, over kept clips.
      pose_failures: kept clips without usable poses, by reason, numbers left out.
      caption_failures: kept clips whose caption failed, in the same way.
      stats: the tables of `explore.stats`.
      caption_models: what wrote captions, and of how many clips.
      run: what `run.json` says; empty where there is none.
      videos: rows of the video table with `kept`, those with problems first, at most `MAX_ROWS`.
      failure_groups: failures counted by item, stage and class.
      failures: rows of the failure table, at most `MAX_ROWS`.
    """

    accounting: Accounting
    shots_without_clip: int
    video_s: float
    clip_s: Mapping[str, float]
    reasons: tuple[ReasonCount, ...]
    unchecked: tuple[tuple[str, int], ...]
    distributions: tuple[Distribution, ...]
    motion: tuple[Distribution, ...]
    pose_failures: tuple[tuple[str, int], ...]
    caption_failures: tuple[tuple[str, int], ...]
    stats: tuple[StatsTable, ...]
    caption_models: tuple[tuple[str, int], ...]
    run: Mapping[str, Any]
    videos: Rows
    failure_groups: Rows
    failures: Rows


def gather_run_summary(output_uri: str, bounds: Mapping[str, Bounds]) -> RunSummary:
    """Reads and aggregates the tables of a finished run.

    Args:
      output_uri: folder of the run.
      bounds: limits by column, as far as they are known.

    Raises:
      OutputError: if the folder is no finished run.
    """
    columns = {"shot_index", "unchecked_limits", "pose_reason", "caption_reason", "caption_model", *CLIP_COLUMNS}
    columns |= {score.column for score in (*SCORES, *MOTION_SCORES)}
    columns |= {*_REASON_COLUMNS.values(), *_MODEL_COLUMNS.values()}
    clips = read_table(output_uri, "clips", sorted(columns))
    kept = clips.filter(pc.equal(clips["status"], "kept"))
    # One thread: sums of floating point numbers must not depend on the order in which threads end.
    with duckdb.connect(config={"threads": 1}) as database:
        database.register("clips", clips)
        for name in ("videos", "shots", "failures"):
            database.register(name, read_table(output_uri, name))
        clip_s = dict.fromkeys(STATUSES, 0.0)
        clip_s |= _pairs(database, "SELECT status, coalesce(fsum(duration_s), 0) FROM clips GROUP BY 1")
        return RunSummary(
            accounting=read_accounting(output_uri),
            shots_without_clip=_scalar(
                database, "SELECT count(*) FROM shots ANTI JOIN clips USING (video_id, shot_index)"
            ),
            video_s=_scalar(database, "SELECT coalesce(fsum(duration_s), 0) FROM videos"),
            clip_s=clip_s,
            reasons=_count_reasons(database),
            unchecked=tuple(
                _pairs(
                    database,
                    "SELECT name, count(*) FROM (SELECT unnest(unchecked_limits) AS name FROM clips "
                    "WHERE status = 'kept') GROUP BY 1 ORDER BY 2 DESC, 1",
                ).items()
            ),
            distributions=tuple(
                _distribution(database, clips, score, bounds.get(score.column, Bounds())) for score in SCORES
            ),
            motion=tuple(
                _distribution(database, kept, score, bounds.get(score.column, Bounds()), tells_missing=False)
                for score in MOTION_SCORES
            ),
            pose_failures=_reasons_without(database, "pose_reason", "NOT pose_ok"),
            caption_failures=_reasons_without(database, "caption_reason", "caption_reason IS NOT NULL"),
            stats=tuple(collect_stats(database)),
            caption_models=tuple(
                _pairs(
                    database,
                    "SELECT caption_model, count(*) FROM clips WHERE caption_model IS NOT NULL GROUP BY 1 "
                    f"ORDER BY 2 DESC, 1 LIMIT {MAX_ROWS}",
                ).items()
            ),
            run=read_run(Store(output_uri)),
            videos=_rows(database, _VIDEOS_SQL),
            failure_groups=_rows(database, _FAILURE_GROUPS_SQL),
            failures=_rows(
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
    """Kept clips that lack something, counted by the reason in a column, in which numbers are left out."""
    reason = f"regexp_replace(coalesce({column}, 'no reason recorded'), '[0-9]+', '…', 'g')"
    sql = f"SELECT {reason}, count(*) FROM clips WHERE status = 'kept' AND {condition} GROUP BY 1"
    return tuple(_pairs(database, f"{sql} ORDER BY 2 DESC, 1 LIMIT {MAX_ROWS}").items())


def _rows(database: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    result = database.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _pairs(database: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    return dict(database.execute(sql).fetchall())


def _scalar(database: duckdb.DuckDBPyConnection, sql: str) -> Any:
    row = database.execute(sql).fetchone()
    return row[0] if row else None


def _count_reasons(database: duckdb.DuckDBPyConnection) -> tuple[ReasonCount, ...]:
    rows = _rows(
        database,
        "SELECT reason, count(*) AS clips, fsum(duration_s) AS seconds, count(*) FILTER (num = 1) AS alone FROM "
        "(SELECT unnest(rejection_reasons) AS reason, len(rejection_reasons) AS num, duration_s FROM clips "
        "WHERE status = 'rejected') GROUP BY 1 ORDER BY 2 DESC, 1",
    )
    return tuple(ReasonCount(**row) for row in rows)


def _distribution(
    database: duckdb.DuckDBPyConnection, clips: pa.Table, score: Score, bounds: Bounds, *, tells_missing: bool = True
) -> Distribution:
    column = clips[score.column].to_numpy(zero_copy_only=False).astype(np.float64)
    is_null = clips[score.column].is_null().to_numpy(zero_copy_only=False).astype(bool)
    is_value = np.isfinite(column)
    values = column[is_value]
    low, high = score.domain or _axis_range(values, bounds)
    if values.size and score.domain:
        low, high = min(low, float(np.floor(values.min()))), max(high, float(np.ceil(values.max())))
    edges = np.linspace(low, high, score.bins + 1)
    status = clips["status"].to_numpy(zero_copy_only=False)
    counts = {
        name: np.histogram(np.minimum(column[is_value & (status == name)], high), bins=edges)[0] for name in STATUSES
    }
    quantiles = tuple(float(q) for q in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))) if values.size else None
    missing = _missing_reasons(database, score) if tells_missing else ()
    if bad := int((~is_value & ~is_null).sum()):
        missing += (("not a finite number", bad),)
    model = _MODEL_COLUMNS.get(score.column)
    models = _rows(database, f"SELECT DISTINCT {model} AS m FROM clips ORDER BY 1") if model else []
    return Distribution(
        score=score,
        bounds=bounds,
        num_values=values.size,
        edges=edges,
        counts=counts,
        quantiles=quantiles,
        below=0 if bounds.least is None else int((values < bounds.least).sum()),
        above=0 if bounds.largest is None else int((values > bounds.largest).sum()),
        num_beyond=int((values > high).sum()),
        missing=missing,
        models=tuple(row["m"] for row in models if row["m"]),
    )


def _axis_range(values: Float64Array, bounds: Bounds) -> tuple[float, float]:
    """From zero to a round number that holds the limits and the values.

    Of a long tail that would squeeze all clips into a few bins, the last 1 % are left out.
    """
    limits = [x for x in (bounds.least, bounds.largest) if x is not None]
    top, most = (float(q) for q in np.quantile(values, (0.99, 1))) if values.size else (0.0, 0.0)
    if most <= _TAIL * top:
        top = most
    high = _round_up(max([top, *(1.15 * x for x in limits)], default=0.0))
    low = min(0.0, float(values.min()) if values.size else 0.0, *limits)
    return -_round_up(-low) if low < 0 else 0.0, high


def _round_up(value: float) -> float:
    """The next number of the form 1, 1.5, 2, 3, 4, 5, 6, 8 or 10 times a power of ten; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(s * power for s in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if s * power >= value))


def _missing_reasons(database: duckdb.DuckDBPyConnection, score: Score) -> tuple[tuple[str, int], ...]:
    """Clips without the score, by the reason that the table gives or that follows from their status."""
    given = _REASON_COLUMNS.get(score.column, "NULL")
    sql = (
        f"SELECT coalesce({given}, CASE status WHEN 'failed' THEN 'the clip failed' ELSE 'no reason recorded' "
        f"END) AS reason, count(*) FROM clips WHERE {score.column} IS NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return tuple(_pairs(database, sql).items())
