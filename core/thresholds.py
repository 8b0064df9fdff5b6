"""Thresholds: limits on numeric columns that decide which clips are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator, model_validator

from core.schema import CLIP_COLUMNS, NUMERIC_CLIP_COLUMNS
from core.settings import Settings


class Limit(Settings):
    """Inclusive bounds of one column."""

    min: float | None = Field(None, description="Least value that is kept (inclusive).")
    max: float | None = Field(None, description="Largest value that is kept (inclusive).")

    @model_validator(mode="after")
    def _check_order(self) -> Limit:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no clip could pass; swap them")
        return self


DUPLICATE_REASON = "near-duplicate"

SPATIALVID_LIMITS: dict[str, Limit | None] = {
    c.name: Limit(min=c.limit[0], max=c.limit[1]) for c in sorted(CLIP_COLUMNS, key=lambda c: c.name) if c.limit
}


class ThresholdSettings(Settings):
    """Limits that decide which clips are kept."""

    limits: dict[str, Limit | None] = Field(
        default=SPATIALVID_LIMITS,
        description="Bounds by column; any numeric column of the clip table may have `min` and `max`, both "
        "inclusive; flags count as 0 and 1. Columns of the cut clip and its annotation (`pose_ok`, `dynamic_ratio`, "
        "...) are looked at last, of clips that all others let pass. null removes a default limit.",
    )
    cascade: bool = Field(
        True,
        description="Reject by the cheap columns before the models run. Rejected clips then have no model "
        "scores; switch off to score every clip.",
    )
    reject_unscored: bool = Field(
        False,
        description="Whether a clip whose limited column is null is rejected. Off: it is kept and the limit "
        "is named in `unchecked_limits`.",
    )

    reject_duplicates: bool = Field(
        False,
        description="Whether only one clip of a group of near-duplicates is kept. Off: they are "
        "only named (column `duplicate_group`), since clips of a camera at rest look alike, too, and since a new "
        "video could push out a clip of an earlier run.",
    )

    @field_validator("limits")
    @classmethod
    def _check_columns(cls, limits: dict[str, Limit | None]) -> dict[str, Limit | None]:
        if unknown := sorted(set(limits) - set(NUMERIC_CLIP_COLUMNS)):
            raise ValueError(f"no numeric clip column is named {unknown}: choose among {sorted(NUMERIC_CLIP_COLUMNS)}")
        return limits


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of the limits for one clip: missed limits, and limits without a value."""

    reasons: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        return not self.reasons


def apply_limits(row: Mapping[str, Any], settings: ThresholdSettings, skip: Collection[str] = ()) -> Verdict:
    """Applies all limits to a row of the clip table.

    Limits on columns in `skip` are left out.
    """
    reasons: list[str] = []
    unchecked: list[str] = []
    for column, limit in sorted(settings.limits.items()):
        if limit is None or column in skip:
            continue
        value = row.get(column)
        if value is None:
            unchecked.append(column)
            if settings.reject_unscored:
                reasons.append(f"{column} is missing")
        elif limit.min is not None and value < limit.min:
            reasons.append(f"{column} below {limit.min:g}")
        elif limit.max is not None and value > limit.max:
            reasons.append(f"{column} above {limit.max:g}")
        elif value != value:
            reasons.append(f"{column} is not a number")
    if settings.reject_duplicates and row.get("duplicate_group") not in (None, row.get("clip_id")):
        reasons.append(DUPLICATE_REASON)
    return Verdict(tuple(reasons), tuple(unchecked))
