"""The one generic DoFn and the one generic RunInference wrapper that put any stage into the graph.

They do for every stage what no stage's author should write again: set-up, the skip rule, retries of
transient faults, failures per record, counters and progress.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.transforms.window import GlobalWindows

import transforms.coders  # noqa: F401 - records travel by these
from core.failures import Failure
from core.progress import ProgressLog
from core.stage import ContractError, Record, Stage, StageBase, StageOutput, check_changes
from models.registry import ModelCard
from storage.store import Store
from transforms.handlers.isolation import (
    MAX_ATTEMPTS,
    RETRY_WAIT_S,
    TRANSIENT_ERRORS,
    Err,
    IsolatingHandler,
    Ok,
    describe_error,
)

R = TypeVar("R", bound=Record)
Outcome = tuple[Any, str, float]

BUSY_MS = "busy_ms"
ROOM = 2
"""Records of a concurrent stage that a worker holds, for each of its threads."""


class UnreachableStoreError(RuntimeError):
    """A worker runs where the run's store cannot be seen; no item can be blamed for it."""


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What every stage of one run shares.

    Attributes:
      store_uri: root of the run's store.
      progress_folder: local folder for live progress, or None where nobody watches.
    """

    store_uri: str
    progress_folder: str | None = None

    def make_store(self) -> None:
        """Makes the store's folder, where it is one. Called once, where the run starts: workers must find it."""
        store = Store(self.store_uri)
        if store.is_local:
            store.fs.makedirs(store.full_path(""), exist_ok=True)

    def open_store(self) -> Store:
        """The run's store, in a worker.

        Raises:
          UnreachableStoreError: if this worker's machine does not have the folder that the run started with.
        """
        store = Store(self.store_uri)
        if store.is_local and not store.fs.isdir(store.full_path("")):
            raise UnreachableStoreError(
                f"the worker on {socket.gethostname()!r} does not see {self.store_uri!r}: give --output on a folder "
                "that all workers share under one path, or on an object store (docs/storage.md)"
            )
        return store


class Counters:
    """Beam counters of one stage, mirrored into the progress log."""

    def __init__(self, stage: str, progress: ProgressLog) -> None:
        self._stage = stage
        self._progress = progress

    def add(self, what: str, count: int = 1) -> None:
        """Counts a record: "done", "reused", "failed" or "passed"."""
        Metrics.counter(self._stage, what).inc(count)
        self._progress.add(self._stage, what, count)

    def add_time(self, seconds: float) -> None:
        """Adds the time that a stage took for a record."""
        Metrics.counter(self._stage, BUSY_MS).inc(round(1000 * seconds))


def fail(record: R, stage: str, err: Err) -> R:
    """The record with its failure noted, and its status where it has one."""
    failure = Failure(
        stage=stage,
        error_class=err.error_class,
        message=err.message,
        is_bug=err.is_bug,
        attempts=err.attempts,
    )
    changes: dict[str, Any] = {"failure": failure}
    if hasattr(record, "status"):
        changes["status"] = type(record.status)("failed")
    return dataclasses.replace(record, **changes)  # type: ignore[type-var]


class _StageDoFn(beam.DoFn):
    """Runs a stage on each record."""

    def __init__(self, stage: Stage[Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._store = self._context.open_store()
        self._progress = ProgressLog(self._context.progress_folder)
        self._counters = Counters(self._stage.contract.name, self._progress)
        self._stage.setup()

    def process(self, record: Any) -> Iterator[Any]:
        yield self._counted(self._timed(record))

    def _counted(self, outcome: Outcome) -> Any:
        record, what, seconds = outcome
        self._counters.add(what)
        if what in ("done", "failed"):
            self._counters.add_time(seconds)
        return record

    def _timed(self, record: Any) -> Outcome:
        started = time.perf_counter()
        record, what = self._advance(record)
        return record, what, time.perf_counter() - started

    def _advance(self, record: Any) -> tuple[Any, str]:
        """The record after the stage, and what became of it."""
        stage = self._stage
        if record.failure is not None or not stage.applies(record):
            return record, "passed"
        attempts = 1
        while True:
            try:
                changes, reused = self._result(record)
                return dataclasses.replace(record, **changes), "reused" if reused else "done"
            except ContractError:
                raise
            except Exception as error:
                if isinstance(error, TRANSIENT_ERRORS) and attempts < MAX_ATTEMPTS:
                    time.sleep(RETRY_WAIT_S * attempts)
                    attempts += 1
                    continue
                return fail(record, stage.contract.name, describe_error(error, attempts)), "failed"

    def _result(self, record: Any) -> tuple[Mapping[str, Any], bool]:
        contract = self._stage.contract
        output = self._stage.output(record, self._store, self._progress)
        if contract.cached and (known := output.load(contract.record)) is not None:
            return known, True
        changes = self._stage.run(record, output)
        check_changes(contract, changes)
        if contract.cached and self._stage.is_final(changes):
            output.save(changes)
        return changes, False


class _ConcurrentStageDoFn(_StageDoFn):
    """Runs a stage on several records of a bundle at a time, and hands them on in their order.

    While a slow record is under way, as many as there are threads may be done behind it.
    """

    def start_bundle(self) -> None:
        self._pool = ThreadPoolExecutor(self._stage.concurrency)
        self._under_way: deque[Future[Outcome]] = deque()

    def process(self, record: Any) -> Iterator[Any]:
        while self._under_way and (self._under_way[0].done() or len(self._under_way) >= ROOM * self._stage.concurrency):
            yield self._counted(self._under_way.popleft().result())
        self._under_way.append(self._pool.submit(self._timed, record))

    def finish_bundle(self) -> Iterator[Any]:
        while self._under_way:
            yield GlobalWindows.windowed_value(self._counted(self._under_way.popleft().result()))
        self._pool.shutdown()


@dataclasses.dataclass
class RunStage(beam.PTransform):
    """Applies a stage to every record of a collection; each record comes out once.

    Records that failed earlier, or that the stage does not apply to, pass unchanged.
    """

    stage: Stage[Any]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        contract = self.stage.contract
        kind = _ConcurrentStageDoFn if self.stage.concurrency > 1 else _StageDoFn
        work = beam.ParDo(kind(self.stage, self.context)).with_output_types(contract.record)
        return records | contract.name >> work


class ModelStage(StageBase[R]):
    """A step whose fields come from models that Beam's RunInference drives in batches.

    Attributes:
      cards: the models, the one that gives the result its name first.
      digests: digest of the weights of each.
    """

    cards: tuple[ModelCard, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def model_digest(self) -> str | None:
        """Digests of all weights."""
        return "+".join(self.digests) or None

    @abstractmethod
    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The model; it reads what an example refers to from the store."""

    @abstractmethod
    def example(self, record: R) -> Any:
        """What the model sees of a record."""

    @abstractmethod
    def fields(self, record: R, prediction: Any, output: StageOutput) -> Mapping[str, Any]:
        """The fields named in `contract.writes`, from the model's answer; what they refer to goes to `output`."""


class CollectionStage(StageBase[R]):
    """A step whose fields depend on other records, too: it works on the collection as a whole."""

    @abstractmethod
    def transform(self, context: RunContext) -> beam.PTransform:
        """From all records to all records, with the fields named in `contract.writes`. Failed ones pass."""


class _KeyedHandler(KeyedModelHandler):
    """Batches are as large as the number of examples in them; records that only pass do not count."""

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {**super().batch_elements_kwargs(), "element_size_fn": _count_example}


def _count_example(keyed: tuple[Any, Any]) -> int:
    return int(keyed[1] is not None)


class _PrepareDoFn(beam.DoFn):
    """Puts beside each record the example that the model sees; None where it need not (a result is stored, say)."""

    def __init__(self, stage: ModelStage[Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._store = self._context.open_store()
        self._counters = Counters(self._stage.contract.name, ProgressLog(self._context.progress_folder))

    def process(self, record: Any) -> Iterator[Any]:
        if record.failure is not None or not self._stage.applies(record):
            self._counters.add("passed")
            yield record, None
            return
        known = self._stage.output(record, self._store).load(self._stage.contract.record)
        if known is not None:
            self._counters.add("reused")
            yield dataclasses.replace(record, **known), None
            return
        yield record, self._stage.example(record)


class _FinishDoFn(beam.DoFn):
    """Turns a model's answer into the stage's fields and stores them."""

    def __init__(self, stage: ModelStage[Any], context: RunContext) -> None:
        self._stage = stage
        self._context = context

    def setup(self) -> None:
        self._store = self._context.open_store()
        self._counters = Counters(self._stage.contract.name, ProgressLog(self._context.progress_folder))

    def process(self, keyed: tuple[Any, Ok[Any] | Err | None]) -> Iterator[Any]:
        record, answer = keyed
        contract = self._stage.contract
        if answer is None:
            yield record
            return
        if isinstance(answer, Err):
            self._counters.add("failed")
            yield fail(record, contract.name, answer)
            return
        output = self._stage.output(record, self._store)
        changes = self._stage.fields(record, answer.value, output)
        check_changes(contract, changes)
        output.save(changes)
        self._counters.add("done")
        yield dataclasses.replace(record, **changes)


@dataclasses.dataclass
class RunModelStage(beam.PTransform):
    """Applies a model to every record through Beam's RunInference; each record comes out once.

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
            | f"{name}/Prepare" >> prepare.with_output_types(tuple[record, Any])  # type: ignore[valid-type]
            | f"{name}/RunInference" >> RunInference(handler, metrics_namespace=name)
            | f"{name}/Finish" >> beam.ParDo(_FinishDoFn(self.stage, self.context)).with_output_types(record)
        )
