"""Stage contracts: name, version, and the record fields read and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.failures import Failure
from core.serialization import field_types


class Record(Protocol):
    """Anything with a stable key and a place for a failure: `VideoRecord`, `ClipRecord`."""

    @property
    def key(self) -> str: ...

    @property
    def failure(self) -> Failure | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContract:
    """Name and version of a stage, and the record fields that it reads and writes.

    Attributes:
      version: to be raised whenever the stage's results change for equal inputs.
      record: the record type.
      reads, writes: names of fields of `record`; `field.key` for one entry of a mapping.
      cached: whether results are kept in the store and reused (the cache). Off for stages that
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
        if unknown := {name.partition(".")[0] for name in self.reads | self.writes} - fields:
            raise ValueError(f"stage {self.name!r} names fields that {self.record.__name__} lacks: {sorted(unknown)}")


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


def get_field(record: Any, name: str) -> Any:
    """Value of a field that a contract names.

    None for a mapping entry that is missing.
    """
    field, _, key = name.partition(".")
    return getattr(record, field).get(key) if key else getattr(record, field)


def replace_fields(record: Any, changes: Mapping[str, Any]) -> Any:
    """The record with the fields that a stage wrote, by their names in its contract."""
    values: dict[str, Any] = {}
    for name, value in changes.items():
        field, _, key = name.partition(".")
        values[field] = {**values.get(field, getattr(record, field)), key: value} if key else value
    return dataclasses.replace(record, **values)
