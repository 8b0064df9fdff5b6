"""What a stage is: a contract over record fields, settings, and a function from a record to new values."""

from __future__ import annotations

import json
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from core.digest import digest_value
from core.failures import Failure
from core.progress import ProgressLog
from core.references import Ref
from core.serialization import field_types, from_jsonable, to_json_text
from core.settings import Settings
from storage.store import Store


class Record(Protocol):
    """Anything with a stable key and a place for a failure: `VideoRecord`, `ClipRecord`."""

    @property
    def key(self) -> str: ...

    @property
    def failure(self) -> Failure | None: ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContract:
    """Name and version of a stage, and the record fields that it reads and writes.

    Attributes:
      version: to be raised whenever the stage's results change for equal inputs.
      record: the record type.
      reads, writes: names of fields of `record`.
      cached: whether results are kept in the store and reused (the skip rule). Off for stages that
        cost less than a look into the store.
    """

    name: str
    version: int
    record: type
    reads: frozenset[str]
    writes: frozenset[str]
    cached: bool = True

    def __post_init__(self) -> None:
        fields = set(field_types(self.record))
        if unknown := (self.reads | self.writes) - fields:
            raise ValueError(f"stage {self.name!r} names fields that {self.record.__name__} lacks: {sorted(unknown)}")


class StageOutput:
    """Where one run of a stage on one record puts its bytes: names carry the stage digest."""

    def __init__(self, store: Store, stage: str, key: str, digest: str, progress: ProgressLog | None = None) -> None:
        self.store = store
        self.stage = stage
        self.progress = progress or ProgressLog(None)
        self._folder = posixpath.join(stage, key[:2], key)
        self._digest = digest

    @property
    def result_path(self) -> str:
        """Path of the JSON object with the written fields: the marker of the skip rule."""
        return f"{self._folder}/{self._digest}.json"

    def path(self, name: str) -> str:
        """Store path of a named blob of this run."""
        return f"{self._folder}/{self._digest}-{name}"

    def write(self, name: str, data: bytes, media_type: str) -> Ref:
        """Writes a blob that a field of the result refers to."""
        return self.store.write_bytes(self.path(name), data, media_type)

    def load(self, record_type: type) -> dict[str, Any] | None:
        """Written fields of an earlier run, or None."""
        known = self.store.find_bytes(self.result_path)
        if known is None:
            return None
        return {name: field_from_jsonable(record_type, name, value) for name, value in json.loads(known).items()}

    def save(self, changes: Mapping[str, Any]) -> None:
        """Marks the run as done. Must come after all blobs are written."""
        data = to_json_text(changes).encode()
        self.store.write_bytes(self.result_path, data, "application/json")


class StageBase(ABC, Generic[R]):
    """What every step over one record has: contract, settings and the identity of its result."""

    contract: StageContract
    settings: Settings

    @property
    def model_digest(self) -> str | None:
        """Digest of the weights that decide the result; None for stages without a model."""
        return None

    @property
    def device(self) -> str:
        """Where the stage's models run: "cpu", or "cuda" if its workers need a GPU."""
        return "cpu"

    def applies(self, record: R) -> bool:
        """Whether the stage has work to do on this record; others pass it on unchanged."""
        return True

    def digest(self, record: R) -> str:
        """Identity of the stage's result on `record`: all that it may depend on, hashed."""
        return digest_value(
            {
                "stage": self.contract.name,
                "version": self.contract.version,
                "settings": self.settings.model_dump(mode="json"),
                "model": self.model_digest,
                "inputs": {name: getattr(record, name) for name in sorted(self.contract.reads)},
            }
        )

    def output(self, record: R, store: Store, progress: ProgressLog | None = None) -> StageOutput:
        """Place in the store of the stage's result on `record`."""
        return StageOutput(store, self.contract.name, record.key, self.digest(record), progress)


class Stage(StageBase[R]):
    """A step that computes its fields itself. No Beam, no globals; survives pickling before `setup`."""

    @property
    def concurrency(self) -> int:
        """How many records a worker may have in `run` at a time: above one for steps that wait for others."""
        return 1

    def is_final(self, changes: Mapping[str, Any]) -> bool:
        """Whether a result is to be kept for later runs; one that a passing fault decided is not."""
        return True

    def setup(self) -> None:
        """Opens what `run` needs, once per worker."""

    @abstractmethod
    def run(self, record: R, output: StageOutput) -> Mapping[str, Any]:
        """Computes the fields named in `contract.writes`.

        Raises:
          ItemError: if this record cannot be processed.
        """


class ContractError(ValueError):
    """Stages do not fit together; raised while the graph is built."""


def check_order(contracts: Iterable[StageContract], initial: Iterable[str]) -> None:
    """Checks that every field is written before it is read.

    Args:
      contracts: the stages of one record type, in order.
      initial: fields that the records bring along.

    Raises:
      ContractError: naming the stage, the field, and the stage that would write it.
    """
    contracts = list(contracts)
    known = set(initial)
    for contract in contracts:
        if missing := sorted(contract.reads - known):
            writers = [c.name for c in contracts if c.writes & set(missing)]
            raise ContractError(
                f"stage {contract.name!r} reads {missing} before it is written"
                + (f": put it after {writers}" if writers else ": no stage writes it")
            )
        known |= contract.writes


def check_changes(contract: StageContract, changes: Mapping[str, Any]) -> None:
    """Checks that a stage wrote just what it declares.

    Raises:
      ContractError: naming the stage and the fields.
    """
    if set(changes) != contract.writes:
        raise ContractError(f"stage {contract.name!r} declares {sorted(contract.writes)} but wrote {sorted(changes)}")


def field_from_jsonable(record_type: type, name: str, value: Any) -> Any:
    """Rebuilds the value of one field of `record_type` from its JSON form."""
    return from_jsonable(field_types(record_type)[name], value)
