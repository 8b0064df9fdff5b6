"""Histograms of clip values by status, with limits, quantiles and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from core.arrays import Float64Array, Int64Array
from core.columns import Column
from core.scores import SCORE_COLUMNS
from core.thresholds import Limit
from explore.outputs import fetch_pairs, fetch_rows

STATUSES = ("kept", "rejected", "failed")
_TAIL = 3.0
_BINS, _BINS_OF_RANGE = 40, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Histogram of a column over the clips, by status.

    Attributes:
      limit: the column's thresholds; open where there are none.
      edges: (n + 1,) bin edges; the last bin includes `num_beyond` larger values.
      counts: (n,) clips per bin, by status.
      quantiles: minimum, 5 %, 50 %, 95 % and maximum; None without values.
      below, above: clips outside the limit.
      missing: clips without a value by reason, most frequent first.
      models: models that computed the values.
    """

    column: Column
    limit: Limit
    num_values: int
    edges: Float64Array
    counts: Mapping[str, Int64Array]
    quantiles: tuple[float, ...] | None
    below: int
    above: int
    num_beyond: int
    missing: tuple[tuple[str, int], ...]
    models: tuple[str, ...]


def make_histogram(
    database: duckdb.DuckDBPyConnection,
    clips: pa.Table,
    column: Column,
    limit: Limit,
    *,
    with_missing: bool = True,
) -> Histogram:
    """Histogram of a column over `clips`.

    Models and reasons of missing values come from the view `clips`.
    """
    numbers = clips[column.name].to_numpy(zero_copy_only=False).astype(np.float64)
    is_null = clips[column.name].is_null().to_numpy(zero_copy_only=False).astype(bool)
    is_value = np.isfinite(numbers)
    values = numbers[is_value]
    low, high = column.range or _axis_range(values, limit)
    bins = _bins_of_range(low, high) if column.range else _BINS
    if values.size and column.range:
        low, high = min(low, float(np.floor(values.min()))), max(high, float(np.ceil(values.max())))
    edges = np.linspace(low, high, bins + 1)
    status = clips["status"].to_numpy(zero_copy_only=False)
    counts = {
        name: np.histogram(np.minimum(numbers[is_value & (status == name)], high), bins=edges)[0] for name in STATUSES
    }
    quantiles = tuple(float(q) for q in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))) if values.size else None
    missing = _missing_reasons(database, column.name) if with_missing else ()
    if bad := int((~is_value & ~is_null).sum()):
        missing += (("not a finite number", bad),)
    score = SCORE_COLUMNS.get(column.name)
    models = fetch_rows(database, f"SELECT DISTINCT {score.model_column} AS m FROM clips ORDER BY 1") if score else []
    return Histogram(
        column=column,
        limit=limit,
        num_values=values.size,
        edges=edges,
        counts=counts,
        quantiles=quantiles,
        below=0 if limit.min is None else int((values < limit.min).sum()),
        above=0 if limit.max is None else int((values > limit.max).sum()),
        num_beyond=int((values > high).sum()),
        missing=missing,
        models=tuple(row["m"] for row in models if row["m"]),
    )


def _bins_of_range(low: float, high: float) -> int:
    """About 50 bins with a round width, so that round limits are bin edges."""
    width = (high - low) / _BINS_OF_RANGE
    power = 10.0 ** np.floor(np.log10(width))
    return round((high - low) / min((s * power for s in (1, 2, 5, 10)), key=lambda step: abs(step - width)))


def _axis_range(values: Float64Array, limit: Limit) -> tuple[float, float]:
    """(low, high) of the axis: round numbers that include zero, the limits and the values.

    Of a long tail that would squeeze all clips into a few bins, the last 1 % is cut off.
    """
    limits = [x for x in (limit.min, limit.max) if x is not None]
    top, largest = (float(q) for q in np.quantile(values, (0.99, 1))) if values.size else (0.0, 0.0)
    if largest <= _TAIL * top:
        top = largest
    high = _round_up(max([top, *(1.15 * x for x in limits)], default=0.0))
    low = min(0.0, float(values.min()) if values.size else 0.0, *limits)
    return -_round_up(-low) if low < 0 else 0.0, high


def _round_up(value: float) -> float:
    """The next round number, such as 1, 1.5, 2, ..., 10; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(s * power for s in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if s * power >= value))


def _missing_reasons(database: duckdb.DuckDBPyConnection, column: str) -> tuple[tuple[str, int], ...]:
    """Counts of clips without a value, by their recorded reason or their status."""
    given = SCORE_COLUMNS[column].reason_column if column in SCORE_COLUMNS else "NULL"
    sql = (
        f"SELECT coalesce({given}, CASE status WHEN 'failed' THEN 'the clip failed' ELSE 'no reason recorded' "
        f"END) AS reason, count(*) FROM clips WHERE {column} IS NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return tuple(fetch_pairs(database, sql).items())
