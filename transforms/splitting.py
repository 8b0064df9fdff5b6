"""Splitting large records: parts run in parallel, then the record's stage merges them."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import apache_beam as beam

from core.stage import Record
from storage.stage_output import StageOutput
from storage.store import DamagedError, Store
from transforms.run_context import RunContext
from transforms.run_stage import RunStage
from transforms.stage import Stage

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Record)


class SplitStage(Stage[R], Generic[R, P]):
    """A stage that can merge the stored results of a large record's parts.

    Its result must be the same with and without parts, which therefore do not enter its cache key.
    """

    part_stage: Stage[P]

    @abstractmethod
    def parts(self, record: R) -> list[P]:
        """The parts of a record; empty if it is not worth splitting."""

    @abstractmethod
    def whole_key(self, part: P) -> str:
        """Key of the record that a part belongs to."""

    def part_results(self, record: R, output: StageOutput) -> list[P] | None:
        """The parts with their results; None if there are none, or a result is missing."""
        parts = self.parts(record)
        done: list[P] = []
        for part in parts:
            try:
                known = self.part_stage.output(part, output.store).load(self.part_stage.contract.record)
            except DamagedError:
                return None
            if known is None:
                return None
            done.append(dataclasses.replace(part, **known))  # type: ignore[type-var]
        return done or None


class _SplitDoFn(beam.DoFn):
    """Yields small records whole; splits large ones.

    Large records, keyed, and their parts go to outputs of their own.
    """

    LARGE, PARTS = "large", "parts"

    def __init__(self, stage: SplitStage[Any, Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._store = Store(self._context.store_uri)

    def process(self, record: Any) -> Iterator[Any]:
        parts = []
        if record.failure is None and self._stage.applies(record):
            parts = self._stage.parts(record)
        if not parts or self._is_stored(record):
            yield record
            return
        yield beam.pvalue.TaggedOutput(self.LARGE, (record.key, record))
        for part in parts:
            yield beam.pvalue.TaggedOutput(self.PARTS, part)

    def _is_stored(self, record: Any) -> bool:
        try:
            return self._stage.output(record, self._store).load(self._stage.contract.record) is not None
        except DamagedError:
            return False


def _large_records(keyed: tuple[str, Iterable[Any]]) -> Iterator[Any]:
    return (record for record in keyed[1] if record is not None)


@dataclasses.dataclass
class RunSplitStage(beam.PTransform):
    """Applies a stage to every record, to large ones in parts; one output per record.

    Parts leave their results in the store, so the grouping moves only the record and a mark per part.
    """

    stage: SplitStage[Any, Any]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        stage, whole_key = self.stage, self.stage.whole_key
        part_stage = stage.part_stage
        record_type, part_type = stage.contract.record, part_stage.contract.record
        keyed_type = tuple[str, record_type | None]  # type: ignore[valid-type]
        split = records | "Split" >> beam.ParDo(_SplitDoFn(stage, self.context)).with_output_types(
            record_type, **{_SplitDoFn.PARTS: part_type, _SplitDoFn.LARGE: keyed_type}
        ).with_outputs(_SplitDoFn.LARGE, _SplitDoFn.PARTS, main="small")
        done = (
            split[_SplitDoFn.PARTS]
            | "SpreadParts" >> beam.Reshuffle()
            | part_stage.contract.name >> RunStage(part_stage, self.context)
            | "MarkDone" >> beam.Map(lambda part: (whole_key(part), None)).with_output_types(keyed_type)
        )
        waited = (
            (split[_SplitDoFn.LARGE], done)
            | "LargeAndParts" >> beam.Flatten()
            | "AwaitParts" >> beam.GroupByKey()
            | "LargeRecord" >> beam.FlatMap(_large_records).with_output_types(record_type)
        )
        return (split.small, waited) | "SmallAndLarge" >> beam.Flatten() | RunStage(stage, self.context)
