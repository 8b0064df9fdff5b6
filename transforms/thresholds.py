"""The threshold stages: they reject clips as soon as a limited column is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.records import ClipRecord, ClipStatus
from core.schema import CHEAP_FIELDS, LATE_COLUMNS, MODEL_COLUMNS
from core.scores import SCORES
from core.stage import StageContract
from core.thresholds import ThresholdSettings, apply_limits
from storage.rows import clip_row
from storage.stage_output import StageOutput
from transforms.stage import Stage

VERDICT_FIELDS = frozenset({"status", "rejection_reasons", "unchecked_limits"})


class ApplyThresholds(Stage[ClipRecord]):
    """Rejects clips by the limits on columns that are known so far.

    Args:
      name: name of the stage.
      settings: the limits.
      reads: record fields that the columns come from.
      skip: columns that are not known yet.
      before: status of the clips that are judged.
      after: status of those that pass.
      is_on: whether the stage has anything to judge by.
    """

    settings: ThresholdSettings

    def __init__(
        self,
        name: str,
        settings: ThresholdSettings,
        reads: frozenset[str],
        *,
        skip: frozenset[str] = frozenset(),
        before: ClipStatus = ClipStatus.CANDIDATE,
        after: ClipStatus = ClipStatus.KEPT,
        is_on: Callable[[ThresholdSettings], bool] = lambda settings: True,
    ) -> None:
        self.contract = StageContract(
            name=name, version=1, record=ClipRecord, reads=reads, writes=VERDICT_FIELDS, cached=False
        )
        self.settings = settings
        self._skip = skip
        self._before, self._after = before, after
        self._is_on = is_on(settings)

    def applies(self, record: ClipRecord) -> bool:
        """Clips that no earlier stage rejected."""
        return self._is_on and record.status is self._before

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Judges one clip."""
        verdict = apply_limits(clip_row(record), self.settings, skip=self._skip)
        is_decided = not verdict.is_kept or self._after is ClipStatus.KEPT
        return {
            "status": self._after if verdict.is_kept else ClipStatus.REJECTED,
            "rejection_reasons": verdict.reasons,
            "unchecked_limits": verdict.unchecked if is_decided else (),
        }


def reject_early(settings: ThresholdSettings) -> ApplyThresholds:
    """Rejects by the columns of the analysis pass.

    So no model runs on those clips.
    """
    skip = MODEL_COLUMNS | LATE_COLUMNS
    return ApplyThresholds(
        "RejectEarly", settings, CHEAP_FIELDS, skip=skip, after=ClipStatus.CANDIDATE, is_on=lambda s: s.cascade
    )


def reject_duplicates(settings: ThresholdSettings) -> ApplyThresholds:
    """Rejects near-duplicates of another clip by the columns of the analysis pass."""
    return ApplyThresholds(
        "RejectDuplicates",
        settings,
        CHEAP_FIELDS | {"duplicate_group"},
        skip=MODEL_COLUMNS | LATE_COLUMNS,
        after=ClipStatus.CANDIDATE,
        is_on=lambda s: s.cascade and s.reject_duplicates,
    )


def apply_thresholds(settings: ThresholdSettings) -> ApplyThresholds:
    """Keeps or rejects by all columns that are known before cutting."""
    reads = CHEAP_FIELDS | {spec.field for spec in SCORES} | {"duplicate_group"}
    return ApplyThresholds("ApplyThresholds", settings, reads, skip=LATE_COLUMNS)


def reject_late(settings: ThresholdSettings) -> ApplyThresholds:
    """Rejects kept clips by columns of the cut clip and its annotation.

    On only where such a column has a limit.
    """
    return ApplyThresholds(
        "RejectLate",
        settings,
        VERDICT_FIELDS | {"duplicate_group", "encoded", "geometry", "camera_motion"},
        before=ClipStatus.KEPT,
        is_on=lambda s: any(limit is not None and name in LATE_COLUMNS for name, limit in s.limits.items()),
    )
