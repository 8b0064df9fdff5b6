"""The generic DoFn and RunInference wrapper that run any stage in the graph.

Both follow `StageRun`: cache lookup, per-record failures, counters and time are written once for all stages.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.transforms.window import GlobalWindows

import transforms.coders  # noqa: F401 - records travel by these
from core import determinism
from core.failures import Failure, machine_fault
from core.progress import ProgressLog
from core.stage import ContractError, check_changes, replace_fields
from storage.stage_output import StageOutput
from storage.store import DamagedError
from transforms.counters import DAMAGED, Counters
from transforms.handlers.isolation import (
    MAX_ATTEMPTS,
    RETRY_WAIT_S,
    TRANSIENT_ERRORS,
    Err,
    IsolatingHandler,
    Ok,
    describe_error,
)
from transforms.run_context import RunContext
from transforms.stage import ModelStage, Stage, StageBase

BACKLOG = 2
"""Records of a concurrent stage that a worker holds, for each of its threads."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A record after a stage, what became of it, and how long that took."""

    record: Any
    what: str
    seconds: float = 0.0


class StageRun:
    """One stage in one worker: cache lookup, retries, failures, counters and time."""

    def __init__(self, stage: StageBase[Any], context: RunContext) -> None:
        determinism.enable()
        self._stage = stage
        self._store = context.open_store()
        self._progress = ProgressLog(context.progress_folder)
        self._trust_output = context.trust_output
        self._counters = Counters(stage.contract.name, self._progress)
        self._damaged: deque[int] = deque()

    def look_up(self, record: Any) -> Outcome | None:
        """The outcome of a record that passes or is a cache hit.

        None where the stage must work: also where a stored result, or a blob of it, is damaged.
        """
        if record.failure is not None or not self._stage.applies(record):
            return Outcome(record, "passed")
        contract = self._stage.contract
        if not contract.cached:
            return None
        output = self._output(record)
        try:
            known = output.load(contract.record)
            if known is not None:
                for ref in self._stage.stored_refs(known, self._store):
                    output.check(ref)
                return Outcome(replace_fields(record, known), "reused")
        except DamagedError as error:
            output.note_damage(error)
            self._damaged.append(output.damaged)
        output.remove_left_over()
        return None

    def compute(self, record: Any, changes_of: Callable[[StageOutput], Mapping[str, Any]]) -> Outcome:
        """The outcome of `changes_of`; transient errors are retried, others become the record's failure."""
        started = time.perf_counter()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                record, what = self._stored(record, changes_of), "done"
                break
            except ContractError:
                raise
            except Exception as error:
                if machine_fault(error):
                    # Every other record would fail alike, and none of them is to blame.
                    raise
                if isinstance(error, TRANSIENT_ERRORS) and attempt < MAX_ATTEMPTS:
                    time.sleep(RETRY_WAIT_S * attempt)
                    continue
                record, what = fail(record, self._stage.contract.name, describe_error(error, attempt)), "failed"
                break
        return Outcome(record, what, time.perf_counter() - started)

    def count(self, outcome: Outcome) -> Any:
        """Counts an outcome and returns its record.

        Call it on the bundle's own thread.
        """
        self._counters.add(outcome.what)
        self.count_damage()
        if outcome.seconds:
            self._counters.add_time(outcome.seconds)
        return outcome.record

    def count_damage(self) -> None:
        """Counts the damaged objects that were found since. Call it on the bundle's own thread."""
        while self._damaged:
            self._counters.add(DAMAGED, self._damaged.popleft())

    def _stored(self, record: Any, changes_of: Callable[[StageOutput], Mapping[str, Any]]) -> Any:
        contract, output = self._stage.contract, self._output(record)
        changes = changes_of(output)
        if output.damaged:
            self._damaged.append(output.damaged)
        check_changes(contract, changes)
        if contract.cached and self._stage.is_final(changes):
            output.save(changes)
        return replace_fields(record, changes)

    def _output(self, record: Any) -> StageOutput:
        output = self._stage.output(record, self._store, self._progress)
        output.trusted = self._trust_output
        return output


def fail(record: Any, stage: str, err: Err) -> Any:
    """The record with a failure, and its status where it has one."""
    changes: dict[str, Any] = {"failure": Failure(stage=stage, **dataclasses.asdict(err))}
    if hasattr(record, "status"):
        changes["status"] = type(record.status)("failed")
    return dataclasses.replace(record, **changes)


class _StageDoFn(beam.DoFn):
    """Runs a stage on each record, concurrently where the stage allows it.

    Records leave in the order in which they came: while a slow one is under way, others are done behind it.
    """

    def __init__(self, stage: Stage[Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._run = StageRun(self._stage, self._context)
        self._concurrency = self._stage.concurrency(self._context.num_threads)
        self._stage.setup(self._context.num_threads)

    def start_bundle(self) -> None:
        self._under_way: deque[Future[Outcome]] = deque()
        self._pool = ThreadPoolExecutor(self._concurrency) if self._concurrency > 1 else None

    def process(self, record: Any) -> Iterator[Any]:
        if self._pool is None:
            yield self._run.count(self._advance(record))
            return
        queue = self._under_way
        while queue and (queue[0].done() or len(queue) >= BACKLOG * self._concurrency):
            yield self._run.count(queue.popleft().result())
        queue.append(self._pool.submit(self._advance, record))

    def finish_bundle(self) -> Iterator[Any]:
        while self._under_way:
            yield GlobalWindows.windowed_value(self._run.count(self._under_way.popleft().result()))
        if self._pool is not None:
            self._pool.shutdown()

    def _advance(self, record: Any) -> Outcome:
        known = self._run.look_up(record)
        return known or self._run.compute(record, lambda output: self._stage.run(record, output))


@dataclasses.dataclass
class RunStage(beam.PTransform):
    """Applies a stage to every record of a collection, one output per record.

    Records that failed earlier, or that the stage does not apply to, pass unchanged.
    """

    stage: Stage[Any]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        work = beam.ParDo(_StageDoFn(self.stage, self.context))
        return records | "Run" >> work.with_output_types(self.stage.contract.record)


class _KeyedHandler(KeyedModelHandler):
    """Measures batches by their number of examples."""

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {**super().batch_elements_kwargs(), "element_size_fn": _count_example}


def _count_example(keyed: tuple[Any, Any]) -> int:
    return int(keyed[1] is not None)


class _ModelDoFn(beam.DoFn):
    """Before and after the model of a stage."""

    def __init__(self, stage: ModelStage[Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._run = StageRun(self._stage, self._context)


class _PrepareDoFn(_ModelDoFn):
    """Pairs each record with its example; None if it passes or is cached."""

    def process(self, record: Any) -> Iterator[Any]:
        known = self._run.look_up(record)
        self._run.count_damage()
        yield (self._run.count(known), None) if known else (record, self._stage.example(record))


class _FinishDoFn(_ModelDoFn):
    """Turns a model's answer into the stage's fields and stores them."""

    def process(self, keyed: tuple[Any, Ok[Any] | Err | None]) -> Iterator[Any]:
        record, answer = keyed
        if isinstance(answer, Err):
            record = self._run.count(Outcome(fail(record, self._stage.contract.name, answer), "failed"))
        elif answer is not None:
            prediction = answer.value
            fields = self._run.compute(record, lambda output: self._stage.fields(record, prediction, output))
            record = self._run.count(fields)
        yield record


@dataclasses.dataclass
class RunModelStage(beam.PTransform):
    """Applies a model to every record by Beam's RunInference, one output per record.

    The record itself is the key beside its example, so results never need to be joined by position. What only passes
    takes the same way: where ways part and join again, the local runner ends one stage before it begins the next, and
    models of several stages would never work side by side.
    """

    stage: ModelStage[Any]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        name, record = self.stage.contract.name, self.stage.contract.record
        handler = _KeyedHandler(IsolatingHandler(self.stage.handler(self.context.store_uri)))
        prepare = beam.ParDo(_PrepareDoFn(self.stage, self.context))
        return (
            records
            | "Prepare" >> prepare.with_output_types(tuple[record, Any])  # type: ignore[valid-type]
            | "RunInference" >> RunInference(handler, metrics_namespace=name)
            | "Finish" >> beam.ParDo(_FinishDoFn(self.stage, self.context)).with_output_types(record)
        )
