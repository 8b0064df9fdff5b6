"""Counters of records, for Beam's metrics and live progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from core.progress import ProgressLog
from transforms.run_context import RunContext

BUSY_MS = "busy_ms"
DAMAGED = "damaged"
EXPECTED = "expected"


class Counters:
    """Beam counters of one stage, mirrored into the progress log."""

    def __init__(self, stage: str, progress: ProgressLog) -> None:
        self._stage = stage
        self._progress = progress

    def add(self, what: str, count: int = 1) -> None:
        """Counts a record ("done", "reused", "failed", "passed"), or stored objects that are damaged."""
        Metrics.counter(self._stage, what).inc(count)
        self._progress.add(self._stage, what, count)

    def add_time(self, seconds: float) -> None:
        """Adds the time that a stage took for a record."""
        Metrics.counter(self._stage, BUSY_MS).inc(round(1000 * seconds))


class _CountDoFn(beam.DoFn):
    def __init__(self, group: str, what_of: Callable[[Any], str], context: RunContext) -> None:
        self._group = group
        self._what_of = what_of
        self._context = context

    def setup(self) -> None:
        self._counters = Counters(self._group, ProgressLog(self._context.progress_folder))

    def process(self, record: Any) -> Iterator[Any]:
        self._counters.add(self._what_of(record))
        yield record


@dataclasses.dataclass
class CountRecords(beam.PTransform):
    """Passes records on and counts them in `group` by `what_of(record)`."""

    group: str
    what_of: Callable[[Any], str]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        work = beam.ParDo(_CountDoFn(self.group, self.what_of, self.context))
        return records | work.with_output_types(records.element_type)


def expected(record: Any) -> str:
    """Counts a record that is yet to be worked on."""
    return EXPECTED


def outcome(record: Any) -> str:
    """Outcome of a record: its status, or failed."""
    if hasattr(record, "status"):
        return str(record.status)
    return "failed" if record.failure else "done"
