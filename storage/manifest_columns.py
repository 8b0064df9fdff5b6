"""Columns of input manifests: names, types, and the conversion of cells."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json import dumps
from typing import Any

import pyarrow as pa

from core.records import Scalar
from storage.tables import RESERVED_COLUMNS

MAX_CELL_BYTES = 65_536
MAX_NESTING = 32
MAX_COLUMNS, MAX_NAME_CHARS = 1000, 200
NULL, TEXT, INTEGER, NUMBER, FLAG = "null", "string", "int64", "double", "bool"
ONE_TYPE = "give the column one type in all rows, or make it text"
_INT64 = range(-(2**63), 2**63)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


class SourceError(ValueError):
    """Invalid input; raised before the job runs."""


class CellError(ValueError):
    """A row or cell that tables cannot hold.

    Args:
      cause: what is wrong with it.
      remedy: what the user can do.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class UnfitValue:
    """A cell that could not be read; `convert_cell` refuses it."""

    cause: str
    text: str
    remedy: str = "shorten or remove the value"

    def __repr__(self) -> str:
        return shorten(self.text)


def shorten(value: Any) -> str:
    r"""`repr` of a value in about sixty characters.

    Bytes that are not UTF-8 appear as `\xe9`.
    """
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", _short.repr(value))


def column_name(name: str) -> str:
    """Table column of a manifest column: letters, digits and `_`; never a reserved name."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII) or "column"
    return f"manifest_{clean}" if clean.lower() in RESERVED_COLUMNS or clean[0].isdigit() else clean


def check_names(names: Iterable[str]) -> None:
    """Checks the columns of one manifest or row.

    Raises:
      CellError: if a name is too long, or two columns would be one in the tables, where case does not count.
    """
    columns: dict[str, str] = {}
    for name in names:
        if len(name) > MAX_NAME_CHARS:
            raise CellError(
                f"the column name {shorten(name)} has {len(name)} characters", f"shorten it to {MAX_NAME_CHARS}"
            )
        column = name if name in ("uri", "id") else column_name(name)
        other = columns.get(column.lower())
        if other == name:
            raise CellError(f"the column {shorten(name)} occurs twice", "rename or remove one of them")
        if other is not None:
            both = f"the columns {shorten(other)} and {shorten(name)} would both be {column!r} in the tables"
            raise CellError(both, "rename or remove one of them")
        if len(columns) == MAX_COLUMNS:
            raise CellError(f"there are more than {MAX_COLUMNS} columns", "remove those that are not needed")
        columns[column.lower()] = name


def arrow_kind(arrow_type: pa.DataType) -> str:
    """Table column type for a Parquet column.

    What has no type of its own becomes text.
    """
    if pa.types.is_dictionary(arrow_type):
        return arrow_kind(arrow_type.value_type)
    if pa.types.is_null(arrow_type):
        return NULL
    if pa.types.is_boolean(arrow_type):
        return FLAG
    if pa.types.is_integer(arrow_type):
        return INTEGER
    return NUMBER if pa.types.is_floating(arrow_type) else TEXT


def value_kind(value: Any) -> str:
    """Type of the table column for a value of JSON or CSV."""
    if value is None or isinstance(value, UnfitValue):
        return NULL
    return {bool: FLAG, int: INTEGER, float: NUMBER}.get(type(value), TEXT)


def common_kind(kind: str, other: str) -> str:
    """The narrowest common type: numbers widen, everything else becomes text."""
    if kind == other or other == NULL:
        return kind
    if kind == NULL:
        return other
    return NUMBER if {kind, other} == {INTEGER, NUMBER} else TEXT


def merge_kinds(inputs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Common types of the columns of all inputs.

    Raises:
      CellError: if the names of two columns differ in case only, or there are too many.
    """
    merged: dict[str, str] = {}
    for kinds in inputs:
        for name, kind in kinds.items():
            merged[name] = common_kind(merged.get(name, NULL), kind)
    check_names(merged)
    return merged


def convert_cell(value: Any, kind: str) -> Scalar:
    """A cell as a table column of type `kind` holds it.

    NaN and infinity are null.

    Raises:
      CellError: if the column cannot hold it unchanged.
    """
    if isinstance(value, UnfitValue):
        raise CellError(value.cause, value.remedy)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind in (TEXT, NULL):
        return checked_text(cell_text(value))
    found = value_kind(value)
    if found == kind == INTEGER and value not in _INT64:
        raise CellError("an integer beyond 64 bits", "write it as text, in all rows")
    if found == kind:
        return value
    if (found, kind) == (INTEGER, NUMBER):
        return _exact_float(value)
    raise CellError(f"the column holds {kind} in the rows before or in another input", ONE_TYPE)


def _exact_float(value: int) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if number != value:
        raise CellError("an integer that a column of doubles cannot hold exactly", "write it as text, in all rows")
    return number


def cell_text(value: Any) -> str:
    """Text of a cell in a text column.

    ISO 8601 for times, seconds for durations, digits for decimals, hexadecimal for bytes, JSON for all else.

    Raises:
      CellError: if it is nested too deeply, or holds a number that could not be read.
    """
    plain = _jsonable(value, 1)
    return plain if isinstance(plain, str) else dumps(plain, sort_keys=True, ensure_ascii=False)


def _jsonable(value: Any, depth: int) -> Any:
    if isinstance(value, UnfitValue):
        raise CellError(value.cause, value.remedy)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > MAX_NESTING and isinstance(value, list | tuple | Mapping):
        raise CellError(f"nested deeper than {MAX_NESTING} levels", "flatten it")
    if isinstance(value, list | tuple):
        return [_jsonable(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item, depth + 1) for name, item in value.items()}
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return format(Decimal(value // timedelta(microseconds=1)) / 10**6, "f")
    return value.hex() if isinstance(value, bytes) else str(value)


def checked_text(text: str) -> str:
    """The text, if a table can hold it.

    Raises:
      CellError: if it is not valid Unicode, or too long.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        if "\udc80" <= text[error.start] <= "\udcff":
            remedy = "save the file as UTF-8, e.g. `iconv -f CP1252 -t UTF-8 OLD > NEW`"
            raise CellError("bytes that are not UTF-8", remedy) from None
        raise CellError("half of a surrogate pair, which is no character", "correct or remove it") from None
    if size > MAX_CELL_BYTES:
        raise CellError(f"a text of {size} bytes, more than {MAX_CELL_BYTES}", "shorten it")
    return text
