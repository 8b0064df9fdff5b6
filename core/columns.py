"""Column declarations on the fields of records.

Tables, limits, docs and charts are derived from them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Any

from core.serialization import field_types

_DECLARATION = "column"


class Tier(StrEnum):
    """When a clip's value is known, and so the cost of rejecting by it."""

    CHEAP = "cheap"
    """After the one decode of the video."""
    MODEL = "model"
    """After a model has scored the sample images."""
    LATE = "late"
    """After the clip has been cut and annotated."""
    FINAL = "final"
    """After the decision: no limit can use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
      type: str, int, float, bool, list[str] or list[int]; each may be null.
      meaning: what the value is.
      path: attributes that lead from the row's record to the value, with dots between.
      unit, range: unit and bounds of a number, where it has any.
      title: name for people, where reports show how the value is distributed.
      limit: default (min, max) that kept clips keep to.
      stage: stage that computes the value.
    """

    name: str
    type: Any
    meaning: str
    path: str
    unit: str = ""
    range: tuple[float, float] | None = None
    title: str = ""
    limit: tuple[float | None, float | None] | None = None
    stage: str = ""
    tier: Tier = Tier.CHEAP

    @property
    def description(self) -> str:
        """Meaning, unit and range in one line."""
        bounds = f"{self.range[0]:g} to {self.range[1]:g}" if self.range else ""
        return ", ".join(text for text in (self.meaning, self.unit, bounds) if text)

    @property
    def is_numeric(self) -> bool:
        """Whether the value is a number or a flag."""
        return self.type in (int, float, bool)

    @property
    def field(self) -> str:
        """Field of the row's record that holds the value."""
        return self.path.partition(".")[0]

    def value(self, record: Any) -> Any:
        """The value in `record`, as tables hold it.

        None where a part of the path is missing.
        """
        for name in self.path.split("."):
            record = record.get(name) if isinstance(record, Mapping) else getattr(record, name)
            if record is None:
                return None
        if isinstance(record, Fraction):
            return float(record)
        return record.value if isinstance(record, Enum) else list(record) if isinstance(record, tuple) else record


def column(meaning: str, **about: Any) -> Mapping[str, Any]:
    """Metadata that declares a record's field as a column: `field(metadata=column("codec of the cut clip"))`.

    Args:
      meaning: what the value is.
      about: further attributes of `Column`, `name` where it is not the field's.
    """
    return {_DECLARATION: {"meaning": meaning, **about}}


def columns_of(record_type: type, path: str, *names: str, prefix: str = "", **about: Any) -> tuple[Column, ...]:
    """Columns of a record's declared fields, in their order.

    Args:
      record_type: dataclass whose fields have `column` metadata.
      path: where the row's record holds it; empty for the row's record itself.
      names: the fields wanted; all if there are none.
      prefix: comes before each field's name.
      about: attributes of `Column` that all of them share.
    """
    hints = field_types(record_type)
    return tuple(
        Column(
            **{
                "name": prefix + field.name,
                "type": _value_type(hints[field.name]),
                "path": f"{path}.{field.name}" if path else field.name,
                **about,
                **declared,
            }
        )
        for field in dataclasses.fields(record_type)
        if (declared := field.metadata.get(_DECLARATION)) and (not names or field.name in names)
    )


def insert_before(columns: Iterable[Column], name: str, *new: Column) -> tuple[Column, ...]:
    """`columns` with `new` before the column `name`."""
    columns = tuple(columns)
    index = [c.name for c in columns].index(name)
    return columns[:index] + new + columns[index:]


def row_of(record: Any, columns: Iterable[Column]) -> dict[str, Any]:
    """One row: the value of each column in `record`."""
    return {c.name: c.value(record) for c in columns}


def _value_type(hint: Any) -> Any:
    """Column type of a field's type."""
    members = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        (hint,) = (member for member in members if member is not types.NoneType)
        return _value_type(hint)
    if typing.get_origin(hint) is tuple:
        return list[members[0]]  # type: ignore[valid-type]
    if issubclass(hint, Enum):
        return str
    return float if hint is Fraction else hint
