"""Counts of records at the joints of the graph, for live progress and Beam's metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam

from core.progress import ProgressLog
from transforms.run_stage import Counters, RunContext

EXPECTED = "expected"


class _TallyDoFn(beam.DoFn):
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
class Tally(beam.PTransform):
    """Passes records on and counts them in `group` by `what_of(record)`."""

    group: str
    what_of: Callable[[Any], str]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        work = beam.ParDo(_TallyDoFn(self.group, self.what_of, self.context))
        return records | work.with_output_types(records.element_type)


def expected(record: Any) -> str:
    """Counts a record that is yet to be worked on."""
    return EXPECTED


def outcome(record: Any) -> str:
    """How a record ended: its status, or whether it failed."""
    if hasattr(record, "status"):
        return str(record.status)
    return "failed" if record.failure else "done"
