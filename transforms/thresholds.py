"""The policy step: which clips are kept. Runs before and after the costly scorers, and after the annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.records import ClipRecord, ClipStatus
from core.stage import Stage, StageContract, StageOutput
from core.thresholds import ThresholdSettings, apply_limits
from storage.rows import clip_row
from storage.tables import LATE_CLIP_COLUMNS

MODEL_COLUMNS = frozenset({"ocr_score", "aesthetic_score"})
CHEAP_FIELDS = frozenset({"status", "span", "width", "height", "info", "scores", "shot"})
VERDICT_FIELDS = frozenset({"status", "rejection_reasons", "unchecked_limits"})


class RejectEarly(Stage[ClipRecord]):
    """Rejects clips by the columns that the analysis pass yields, so that no model looks at them."""

    contract = StageContract(
        name="RejectEarly",
        version=1,
        record=ClipRecord,
        reads=CHEAP_FIELDS,
        writes=VERDICT_FIELDS,
        cached=False,
    )
    settings: ThresholdSettings

    def __init__(self, settings: ThresholdSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Only where the cascade is on."""
        return self.settings.cascade and record.status is ClipStatus.CANDIDATE

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Judges one clip by its cheap columns."""
        verdict = apply_limits(clip_row(record), self.settings, skip=MODEL_COLUMNS | LATE_CLIP_COLUMNS)
        status = ClipStatus.CANDIDATE if verdict.is_kept else ClipStatus.REJECTED
        return {
            "status": status,
            "rejection_reasons": verdict.reasons,
            "unchecked_limits": () if verdict.is_kept else verdict.unchecked,
        }


class RejectDuplicates(RejectEarly):
    """Rejects near-duplicates of another clip in the same way, so that no model looks at them either."""

    contract = StageContract(
        name="RejectDuplicates",
        version=1,
        record=ClipRecord,
        reads=CHEAP_FIELDS | {"duplicate_group"},
        writes=VERDICT_FIELDS,
        cached=False,
    )

    def applies(self, record: ClipRecord) -> bool:
        """Only where near-duplicates are to be rejected."""
        return self.settings.reject_duplicates and super().applies(record)


class ApplyThresholds(Stage[ClipRecord]):
    """Decides by all columns that are known before cutting which clips are kept."""

    contract = StageContract(
        name="ApplyThresholds",
        version=1,
        record=ClipRecord,
        reads=CHEAP_FIELDS | MODEL_COLUMNS | {"duplicate_group"},
        writes=VERDICT_FIELDS,
        cached=False,
    )
    settings: ThresholdSettings

    def __init__(self, settings: ThresholdSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Clips that no earlier step rejected."""
        return record.status is ClipStatus.CANDIDATE

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Judges one clip."""
        verdict = apply_limits(clip_row(record), self.settings, skip=LATE_CLIP_COLUMNS)
        return {
            "status": ClipStatus.KEPT if verdict.is_kept else ClipStatus.REJECTED,
            "rejection_reasons": verdict.reasons,
            "unchecked_limits": verdict.unchecked,
        }


class RejectLate(Stage[ClipRecord]):
    """Rejects kept clips by the columns of the cut clip and its annotation."""

    contract = StageContract(
        name="RejectLate",
        version=1,
        record=ClipRecord,
        reads=VERDICT_FIELDS | {"duplicate_group", "encoded", "geometry", "camera_motion"},
        writes=VERDICT_FIELDS,
        cached=False,
    )
    settings: ThresholdSettings

    def __init__(self, settings: ThresholdSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Clips that are kept so far, if such a column has a limit."""
        limited = {column for column, limit in self.settings.limits.items() if limit is not None}
        return record.status is ClipStatus.KEPT and not limited.isdisjoint(LATE_CLIP_COLUMNS)

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Judges one clip by all columns, now that all are known."""
        verdict = apply_limits(clip_row(record), self.settings)
        return {
            "status": ClipStatus.KEPT if verdict.is_kept else ClipStatus.REJECTED,
            "rejection_reasons": verdict.reasons,
            "unchecked_limits": verdict.unchecked,
        }
