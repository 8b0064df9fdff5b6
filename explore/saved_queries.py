"""Saved queries over the clip table in DuckDB's SQL, and translation to BigQuery's SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from explore.outputs import OutputError

# Only the clip table is loaded into the warehouse.
_LOCAL_TABLES = frozenset({"videos", "shots", "failures"})
_TABLE_PATTERN = re.compile(r"([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)[:.]([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedQuery:
    """A named query: the question that it answers, and its SQL over the table `clips`."""

    name: str
    question: str
    sql: str


def _queries(*rows: tuple[str, str, str]) -> dict[str, SavedQuery]:
    return {name: SavedQuery(name=name, question=question, sql=sql.strip()) for name, question, sql in rows}


SAVED_QUERIES = _queries(
    (
        "funnel",
        "How many clips and hours were kept, rejected, failed?",
        """
SELECT status, COUNT(*) AS clips, ROUND(SUM(duration_s) / 3600, 3) AS hours
FROM clips
GROUP BY status
ORDER BY clips DESC, status
""",
    ),
    (
        "rejections",
        "Which limits reject most clips, and which reject alone?",
        """
SELECT reason, COUNT(*) AS clips,
  COUNT(CASE WHEN ARRAY_LENGTH(rejection_reasons) = 1 THEN 1 END) AS clips_by_this_alone
FROM clips CROSS JOIN UNNEST(rejection_reasons) AS reasons(reason)
WHERE status = 'rejected'
GROUP BY reason
ORDER BY clips DESC, reason
""",
    ),
    (
        "videos",
        "What did each source video yield?",
        """
SELECT source_uri, COUNT(*) AS clips, COUNT(CASE WHEN status = 'kept' THEN 1 END) AS kept,
  ROUND(SUM(CASE WHEN status = 'kept' THEN duration_s ELSE 0 END), 3) AS kept_s
FROM clips
GROUP BY source_uri
ORDER BY kept_s DESC, source_uri
""",
    ),
    (
        "near-misses",
        "Which clips miss one single limit?",
        """
SELECT clip_id, source_uri, start_s, end_s, rejection_reasons,
  motion_score, luminance_score, ocr_score, aesthetic_score
FROM clips
WHERE status = 'rejected' AND ARRAY_LENGTH(rejection_reasons) = 1
ORDER BY clip_id
LIMIT 100
""",
    ),
    (
        "lengths",
        "How long are the kept clips?",
        """
SELECT CAST(FLOOR(duration_s) AS BIGINT) AS seconds, COUNT(*) AS clips
FROM clips
WHERE status = 'kept'
GROUP BY CAST(FLOOR(duration_s) AS BIGINT)
ORDER BY seconds
""",
    ),
    (
        "formats",
        "In which sizes, rates and codecs do kept clips come?",
        """
SELECT resolution, ROUND(fps) AS rounded_fps, source_codec, is_hdr, COUNT(*) AS clips
FROM clips
WHERE status = 'kept'
GROUP BY resolution, ROUND(fps), source_codec, is_hdr
ORDER BY clips DESC, resolution, rounded_fps, source_codec
""",
    ),
    (
        "trusted-poses",
        "Which kept clips have camera poses fit for training, the most certain first?",
        """
SELECT clip_id, shard, camera_motion_kind, pose_registered_share, pose_reprojection_px,
  move_dist, rot_angle, dynamic_ratio
FROM clips
WHERE status = 'kept' AND pose_ok AND pose_registered_share >= 0.95
ORDER BY pose_reprojection_px, clip_id
LIMIT 1000
""",
    ),
    (
        "untrusted-poses",
        "Why are camera poses not trusted?",
        """
SELECT pose_reason, camera_motion_kind, COUNT(*) AS clips
FROM clips
WHERE status = 'kept' AND NOT pose_ok
GROUP BY pose_reason, camera_motion_kind
ORDER BY clips DESC, pose_reason, camera_motion_kind
""",
    ),
    (
        "camera-motion",
        "How do the cameras of kept clips move?",
        """
SELECT camera_motion_kind, dist_level, COUNT(*) AS clips, ROUND(AVG(rot_angle), 4) AS mean_rot_angle,
  ROUND(AVG(dynamic_ratio), 4) AS mean_dynamic_ratio
FROM clips
WHERE status = 'kept'
GROUP BY camera_motion_kind, dist_level
ORDER BY clips DESC, camera_motion_kind, dist_level
""",
    ),
    (
        "best",
        "Which kept clips are the best of each video, by aesthetic score and motion?",
        """
SELECT clip_id, source_uri, shard, aesthetic_score, motion_score
FROM (
  SELECT clip_id, source_uri, shard, aesthetic_score, motion_score,
    ROW_NUMBER() OVER (
      PARTITION BY video_id ORDER BY COALESCE(aesthetic_score, 0) DESC, motion_score DESC, clip_id
    ) AS place
  FROM clips
  WHERE status = 'kept'
) AS ranked
WHERE place <= 3
ORDER BY source_uri, place
""",
    ),
)


def saved_query(name: str) -> SavedQuery:
    """The saved query of a name.

    Raises:
      OutputError: for an unknown name; the message lists the known ones.
    """
    if name not in SAVED_QUERIES:
        raise OutputError(f"there is no saved query {name!r}: there are {', '.join(SAVED_QUERIES)}")
    return SAVED_QUERIES[name]


def to_bigquery(sql: str, table: str) -> str:
    """Translates a query over `clips` to BigQuery's SQL.

    Args:
      sql: DuckDB's SQL.
      table: the clip table as `project:dataset.table` or `project.dataset.table`.

    Raises:
      OutputError: if sqlglot is not installed, the query cannot be parsed, or it reads a table that is not loaded.
    """
    parts = split_table(table)
    try:
        import sqlglot
        from sqlglot import exp
    except ImportError as error:
        raise OutputError("BigQuery's SQL needs the package sqlglot: pip install 'spatialbeam[gcp]'") from error
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
        own = {cte.alias for cte in tree.find_all(exp.CTE)}
        rename = _renamer(parts, own, exp)
        return tree.transform(rename).sql(dialect="bigquery", pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except sqlglot.errors.SqlglotError as error:
        raise OutputError(f"the query cannot be said in BigQuery's SQL: {error}") from error


def split_table(table: str) -> tuple[str, str, str]:
    """(project, data set, table) of `project:dataset.table`.

    Raises:
      OutputError: if `table` has another form.
    """
    match = _TABLE_PATTERN.fullmatch(table)
    if match is None:
        raise OutputError(f"a BigQuery table is given as project:dataset.table, got {table!r}")
    project, dataset, name = match.groups()
    return project, dataset, name


def _renamer(parts: tuple[str, str, str], own: set[str], exp: Any) -> Callable[[Any], Any]:
    project, dataset, name = parts

    def rename(node: Any) -> Any:
        if not isinstance(node, exp.Table) or node.db or node.name in own:
            return node
        if node.name in _LOCAL_TABLES:
            raise OutputError(f"only the clip table is loaded into BigQuery, the query asks for {node.name!r}")
        if node.name != "clips":
            return node
        alias = node.alias or "clips"
        return exp.alias_(exp.table_(name, db=dataset, catalog=project, quoted=True), alias, table=True)

    return rename
