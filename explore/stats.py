"""Statistics of a data set as in SpatialVID's paper: counts, hours, tags, motion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.schema import CHARTED_COLUMNS, TAG_COLUMNS
from explore.export.tables import csv_text
from explore.markup import escape_controls
from explore.outputs import OutputError, connect

MAX_VALUES = 20


@dataclass(frozen=True, slots=True)
class StatsTable:
    """A table of statistics: title, columns, rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


_HOURS = "round(coalesce(fsum(duration_s), 0) / 3600, 4)"
_FUNNEL = f"""
SELECT 'videos' AS stage, count(*) AS items, {_HOURS} AS hours FROM videos
UNION ALL SELECT 'videos done', count(*), {_HOURS} FROM videos WHERE status = 'done'
UNION ALL SELECT 'shots', count(*), round(coalesce(fsum(end_s - start_s), 0) / 3600, 4) FROM shots
UNION ALL SELECT 'clips found', count(*), {_HOURS} FROM clips
UNION ALL SELECT 'clips kept', count(*), {_HOURS} FROM clips WHERE status = 'kept'
UNION ALL SELECT 'clips kept, with poses', count(*), {_HOURS} FROM kept WHERE pose_ok
UNION ALL SELECT 'clips kept, captioned', count(*), {_HOURS} FROM kept WHERE scene_description IS NOT NULL
"""
_TOTALS = """
SELECT count(*) AS clips, round(coalesce(favg(duration_s), 0), 2) AS mean_s,
  sum(num_annotated_frames) AS annotated_frames,
  round(sum(num_annotated_frames) FILTER (num_annotated_frames IS NOT NULL)
    / nullif(fsum(duration_s) FILTER (num_annotated_frames IS NOT NULL), 0), 2) AS annotated_per_s,
  count(DISTINCT video_id) AS videos, sum(clip_size_bytes) AS clip_bytes
FROM kept
"""
_CAPTIONS = (
    "scene_summary",
    "scene_description",
    "camera_motion_caption",
    "shot_immersion",
)
# Title, and SQL of the value that clips are counted by.
_DISTRIBUTIONS: tuple[tuple[str, str], ...] = (
    *((column.title.lower(), column.name) for column in TAG_COLUMNS),
    ("motion direction", "unnest(motion_tags)"),
    ("camera motion", "CASE WHEN pose_ok THEN camera_motion_kind END"),
    ("turns of the path", "CASE WHEN traj_turns > 2 THEN 'more' ELSE traj_turns::VARCHAR END"),
    ("distance level", "dist_level"),
    (
        "length of clips",
        "(CASE WHEN duration_s >= 15 THEN '15 s and more' ELSE "
        "(3 * floor(duration_s / 3))::INT || ' to ' || (3 * floor(duration_s / 3) + 3)::INT || ' s' END)",
    ),
    ("frame rate", "round(fps)::INT"),
    ("resolution", "resolution"),
    ("source codec", "source_codec"),
)
_SCORES = tuple(column.name for column in CHARTED_COLUMNS)

CLIP_COLUMNS = (
    *("video_id", "status", "rejection_reasons", "num_annotated_frames", "clip_size_bytes", "pose_ok"),
    *("motion_tags", "camera_motion_kind", "dist_level", "fps", "resolution", "source_codec", *_CAPTIONS, *_SCORES),
    *(column.name for column in TAG_COLUMNS),
)


def gather_stats(output_uri: str, where: str | None = None) -> list[StatsTable]:
    """Statistics of a finished data set; tables without rows are left out.

    Args:
      output_uri: folder of the data set.
      where: SQL condition on the kept clips to count.

    Raises:
      OutputError: if the folder is no finished run, or the condition is wrong.
    """
    with connect(output_uri) as database:
        # One thread: floating-point sums must not depend on thread order.
        database.execute("SET threads = 1")
        return collect_stats(database, where)


def collect_stats(database: duckdb.DuckDBPyConnection, where: str | None = None) -> list[StatsTable]:
    """As `gather_stats`, from a connection to the tables; of the clips it reads `CLIP_COLUMNS`."""
    condition = f"AND ({where})" if where else ""
    try:
        database.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM clips WHERE status = 'kept' {condition}")
    except duckdb.Error as error:
        raise OutputError(f"the condition {where!r} is wrong: {error}") from error
    tables = [_table(database, "items and hours", _FUNNEL), _table(database, "kept clips", _TOTALS)]
    tables.append(_table(database, "rejected clips by reason", _REASONS))
    tables.append(_table(database, "words of captions", " UNION ALL BY NAME ".join(map(_words_sql, _CAPTIONS))))
    tables.append(_table(database, "scores of kept clips", " UNION ALL BY NAME ".join(map(_score_sql, _SCORES))))
    tables += [_table(database, title, _distribution_sql(value)) for title, value in _DISTRIBUTIONS]
    return [table for table in tables if table.rows]


_REASONS = f"""
SELECT reason, count(*) AS clips, {_HOURS} AS hours, count(*) FILTER (reasons = 1) AS only_this FROM
  (SELECT unnest(rejection_reasons) AS reason, len(rejection_reasons) AS reasons, duration_s FROM clips
   WHERE status = 'rejected') GROUP BY 1 ORDER BY 2 DESC, 1
"""


def _words_sql(column: str) -> str:
    words = f"len(regexp_extract_all({column}, '\\S+'))"
    return (
        f"SELECT '{column}' AS text, count(*) AS captions, round(avg({words}), 1) AS mean_words, "
        f"sum({words}) AS words FROM kept WHERE {column} IS NOT NULL HAVING count(*) > 0"
    )


def _score_sql(column: str) -> str:
    values = [f"round(quantile_cont({column}, {q}), 4) AS {name}" for q, name in _QUANTILES]
    return (
        f"SELECT '{column}' AS score, count({column}) AS clips, round(favg({column}), 4) AS mean, {', '.join(values)} "
        f"FROM kept HAVING count({column}) > 0"
    )


_QUANTILES = ((0, "least"), (0.05, "p5"), (0.5, "median"), (0.95, "p95"), (1, "largest"))


def _distribution_sql(value: str) -> str:
    return (
        f"SELECT value, count(*) AS clips, round(100 * count(*) / (SELECT count(*) FROM kept), 1) AS percent_of_clips, "
        f"{_HOURS} AS hours FROM (SELECT ({value})::VARCHAR AS value, duration_s FROM kept) "
        f"WHERE value IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_VALUES}"
    )


def _table(database: duckdb.DuckDBPyConnection, title: str, sql: str) -> StatsTable:
    result = database.execute(sql)
    names = tuple(column[0] for column in result.description or ())
    return StatsTable(title, names, tuple(result.fetchall()))


def stats_json(tables: Sequence[StatsTable]) -> str:
    """The tables as JSON: title to rows."""
    return json.dumps({t.title: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in tables}, indent=2)


def stats_csv(tables: Sequence[StatsTable]) -> str:
    """The tables as one CSV with the columns table, row, figure, value."""
    lines = [
        (table.title, row[0], name, value)
        for table in tables
        for row in table.rows
        for name, value in zip(table.columns, row, strict=True)
    ]
    return csv_text(("table", "row", "figure", "value"), lines)


def print_stats(tables: Sequence[StatsTable], console: Console) -> None:
    """Prints the tables."""
    for table in tables:
        shown = Table(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            shown.add_row(*(Text("" if value is None else escape_controls(value)) for value in row))
        console.print(shown)
