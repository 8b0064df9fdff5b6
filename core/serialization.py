"""Records to canonical JSON and back: sorted keys, exact rationals as "num/den", no pickle."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def to_json_text(value: Any) -> str:
    """Canonical JSON text of records, fractions, enums, tuples and mappings: equal values give equal bytes.

    Raises:
      TypeError: for a type that has no defined form.
      ValueError: for a float that is not finite: a missing value is None.
    """
    return json.dumps(
        value, default=_jsonable, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON form is defined for {type(value).__name__}: {value!r}")


@cache
def field_types(record_type: type) -> dict[str, Any]:
    """Resolved type hints of a record's fields."""
    return typing.get_type_hints(record_type)


@cache
def _adapter(value_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(value_type)


def from_jsonable(value_type: Any, data: Any) -> Any:
    """Rebuilds a value of `value_type` (a dataclass or a plain annotation) from its JSON values.

    Raises:
      ValueError: if `data` does not have the fields of `value_type`, or one of another type.
    """
    return _adapter(value_type).validate_python(data, extra="forbid")


def from_json_text(record_type: type[T], text: str | bytes) -> T:
    """Reads a record written by `to_json_text`."""
    return typing.cast(T, from_jsonable(record_type, json.loads(text)))


def field_from_jsonable(record_type: type, name: str, value: Any) -> Any:
    """Rebuilds one field of `record_type` from its JSON form.

    `field.key` is one entry of a mapping.
    """
    field, _, key = name.partition(".")
    hint = field_types(record_type)[field]
    return from_jsonable(typing.get_args(hint)[1] if key else hint, value)
