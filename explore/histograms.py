"""Histograms of clip values by status, with limits, quantiles and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from core.arrays import Float64Array, Int64Array
from core.thresholds import Limit
from explore.outputs import fetch_pairs, fetch_rows

STATUSES = ("kept", "rejected", "failed")
_TAIL = 3.0


@dataclass(frozen=True, slots=True)
class HistogramSpec:
    """A column of the clip table whose histogram is shown.

    Attributes:
      column: name in the clip table.
      title: display name.
      unit: unit or scale.
      domain: fixed range of the axis, if any.
      bins: number of bins; with a fixed range, round limits fall on bin edges.
    """

    column: str
    title: str
    unit: str
    domain: tuple[float, float] | None = None
    bins: int = 40


SCORES = (
    HistogramSpec("luminance_score", "Luminance", "mean of the sample images, 0 to 255", (0.0, 255.0), bins=51),
    HistogramSpec("motion_score", "Motion", "VMAF motion at native size, luma units a frame"),
    HistogramSpec("motion_normalized", "Motion, normalized", "thumbnail change in 0.1 s, luma units"),
    HistogramSpec("ocr_score", "Text", "share of the image under text, 0 to 1", (0.0, 1.0), bins=50),
    HistogramSpec("aesthetic_score", "Aesthetic", "LAION score, about 0 to 10", (0.0, 10.0), bins=50),
    HistogramSpec("duration_s", "Duration", "seconds"),
)
MOTION_SCORES = (
    HistogramSpec("move_dist", "Length of the path", "units in which the 98th percentile of inverse depth is 2"),
    HistogramSpec("rot_angle", "Rotation", "radians, summed"),
    HistogramSpec("dynamic_ratio", "Moving pixels", "mean share, 0 to 1", (0.0, 1.0), bins=50),
    HistogramSpec("depth_valid_share", "Pixels with depth", "share, 0 to 1", (0.0, 1.0), bins=50),
)
REASON_COLUMNS = {"ocr_score": "ocr_reason", "aesthetic_score": "aesthetic_reason"}
MODEL_COLUMNS = {"ocr_score": "ocr_model", "aesthetic_score": "aesthetic_model"}


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

    spec: HistogramSpec
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
    spec: HistogramSpec,
    limit: Limit,
    *,
    with_missing: bool = True,
) -> Histogram:
    """Histogram of a column over `clips`; models and reasons of missing values come from the view `clips`."""
    column = clips[spec.column].to_numpy(zero_copy_only=False).astype(np.float64)
    is_null = clips[spec.column].is_null().to_numpy(zero_copy_only=False).astype(bool)
    is_value = np.isfinite(column)
    values = column[is_value]
    low, high = spec.domain or _axis_range(values, limit)
    if values.size and spec.domain:
        low, high = min(low, float(np.floor(values.min()))), max(high, float(np.ceil(values.max())))
    edges = np.linspace(low, high, spec.bins + 1)
    status = clips["status"].to_numpy(zero_copy_only=False)
    counts = {
        name: np.histogram(np.minimum(column[is_value & (status == name)], high), bins=edges)[0] for name in STATUSES
    }
    quantiles = tuple(float(q) for q in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))) if values.size else None
    missing = _missing_reasons(database, spec) if with_missing else ()
    if bad := int((~is_value & ~is_null).sum()):
        missing += (("not a finite number", bad),)
    model = MODEL_COLUMNS.get(spec.column)
    models = fetch_rows(database, f"SELECT DISTINCT {model} AS m FROM clips ORDER BY 1") if model else []
    return Histogram(
        spec=spec,
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
    """The next 1, 1.5, 2, 3, 4, 5, 6, 8 or 10 times a power of ten; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(s * power for s in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if s * power >= value))


def _missing_reasons(database: duckdb.DuckDBPyConnection, spec: HistogramSpec) -> tuple[tuple[str, int], ...]:
    """Counts of clips without a value, by their recorded reason or their status."""
    given = REASON_COLUMNS.get(spec.column, "NULL")
    sql = (
        f"SELECT coalesce({given}, CASE status WHEN 'failed' THEN 'the clip failed' ELSE 'no reason recorded' "
        f"END) AS reason, count(*) FROM clips WHERE {spec.column} IS NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return tuple(fetch_pairs(database, sql).items())
