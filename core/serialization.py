"""Records to canonical JSON and back: sorted keys, exact rationals as "num/den", no pickle."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def to_jsonable(value: Any) -> Any:
    """Turns records (dataclasses), fractions, enums, tuples and mappings into JSON values.

    Raises:
      TypeError: for a type that has no defined form, or a float that is not finite.
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no JSON form: use None for a missing value")
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(v) for v in value]
    raise TypeError(f"no JSON form is defined for {type(value).__name__}: {value!r}")


def to_json_text(value: Any) -> str:
    """Canonical JSON text: equal values give equal bytes."""
    return json.dumps(to_jsonable(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@cache
def field_types(record_type: type) -> dict[str, Any]:
    """Resolved type hints of a record's fields."""
    return typing.get_type_hints(record_type)


def from_jsonable(record_type: Any, data: Any) -> Any:
    """Rebuilds a value of `record_type` (a dataclass or a plain annotation) from its JSON form.

    Raises:
      ValueError: if `data` does not have the fields of `record_type`.
    """
    origin = typing.get_origin(record_type)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        members = [m for m in typing.get_args(record_type) if m is not type(None)]
        return from_jsonable(members[0], data) if len(members) == 1 else data
    if origin is tuple:
        args = typing.get_args(record_type)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(from_jsonable(args[0], v) for v in data)
        return tuple(from_jsonable(a, v) for a, v in zip(args, data, strict=True))
    if record_type is Fraction:
        return Fraction(data)
    if isinstance(record_type, type) and issubclass(record_type, Enum):
        return record_type(data)
    if dataclasses.is_dataclass(record_type) and isinstance(record_type, type):
        hints = field_types(record_type)
        if not isinstance(data, dict) or (unknown := set(data) - set(hints)):
            unknown = unknown if isinstance(data, dict) else {type(data).__name__}
            raise ValueError(f"{record_type.__name__} cannot be read from JSON with {sorted(unknown)}")
        return record_type(**{k: from_jsonable(hints[k], v) for k, v in data.items()})
    return data


def from_json_text(record_type: type[T], text: str | bytes) -> T:
    """Reads a record written by `to_json_text`."""
    return typing.cast(T, from_jsonable(record_type, json.loads(text)))


def field_from_jsonable(record_type: type, name: str, value: Any) -> Any:
    """Rebuilds the value of one field of `record_type` from its JSON form."""
    return from_jsonable(field_types(record_type)[name], value)
