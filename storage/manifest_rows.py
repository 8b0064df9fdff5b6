"""Reads the rows of input manifests: CSV, JSON Lines and Parquet.

A bad row does not affect the others.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from storage.manifest_columns import CellError, SourceError, UnfitValue, check_names, checked_text, shorten

MAX_ROW_CHARS = 1 << 20
MAX_NUMBER_CHARS = 1000
BATCH_ROWS = 4096
_ERRORS = "spatialbeam-keep-bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row.

    Attributes:
      number: 1-based number of the row; headers and blank lines do not count.
      line: 1-based line of a text file where it begins.
      error: why the row cannot be read.
    """

    number: int
    line: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    error: CellError | None = None

    @property
    def place(self) -> str:
        """Position of the row in its file."""
        return f"row {self.number}" + (f" (line {self.line})" if self.line else "")


def read_rows(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[ManifestRow]:
    """Yields the rows of a manifest, streaming.

    A row that cannot be read has an error.

    Raises:
      SourceError: for another encoding than UTF-8 or UTF-16, or a header that cannot be used.
    """
    extension = posixpath.splitext(path)[1].lower()
    if extension == ".parquet":
        with fs.open(path, "rb") as file:
            yield from _parquet_rows(file)
        return
    with _open_text(fs, path) as file:
        lines = _Lines(file)
        rows = _csv_rows(lines) if extension == ".csv" else _json_rows(lines)
        for number, (line, found) in enumerate(rows, start=1):
            if isinstance(found, CellError):
                yield ManifestRow(number=number, line=line, error=found)
            else:
                yield ManifestRow(number=number, line=line, values=found)


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    """Decodes bytes that are not text to lone surrogates, which `checked_text` refuses cell by cell."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _keep_bytes)


def _open_text(fs: fsspec.AbstractFileSystem, path: str) -> IO[str]:
    with fs.open(path, "rb") as file:
        encoding = json.detect_encoding(file.read(4))
    if encoding.startswith("utf-32"):
        remedy = "convert it: `iconv -f UTF-32 -t UTF-8 OLD > NEW`"
        raise SourceError(f"manifest {path!r} is encoded as UTF-32; only UTF-8 and UTF-16 are read. Remedy: {remedy}")
    return fs.open(path, "rt", encoding=encoding, errors=_ERRORS, newline="")


class _Lines:
    """Lines of a text file, grouped to records of bounded length."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._waiting: list[str] = []
        self.number = 0
        self.begin()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._waiting.pop() if self._waiting else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.record.append(line)
        self._chars += len(line)
        if self._chars > MAX_ROW_CHARS:
            raise CellError(f"a row of more than {MAX_ROW_CHARS} characters", "shorten it, or close its quotes")
        return line

    def begin(self) -> None:
        """Begins a record."""
        self.record: list[str] = []
        self._chars = 0

    def put_back(self) -> None:
        """Returns all lines of the record but its first, to be read again."""
        self._waiting.extend(reversed(self.record[1:]))
        self.number -= len(self.record) - 1

    def _read(self) -> str:
        line = rest = self._file.readline(MAX_ROW_CHARS + 1)
        while len(rest) > MAX_ROW_CHARS and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(MAX_ROW_CHARS + 1)
        return line


def _csv_records(lines: _Lines) -> Iterator[tuple[int, list[str] | CellError]]:
    """Yields first line and fields of each record that is not blank.

    Behind a quote that is never closed, reading goes on with the next line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_CHARS))
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except CellError as error:
            lines.put_back()
            yield lines.number, error
        except csv.Error as error:
            lines.put_back()
            remedy = "close each quoted field, and double the quotes inside of it"
            yield lines.number, CellError(f"the row {shorten(lines.record[0])} is not CSV ({error})", remedy)
        else:
            if fields:
                yield lines.number - len(lines.record) + 1, fields


def read_header(fs: fsspec.AbstractFileSystem, path: str) -> list[str]:
    """Column names of a CSV file.

    Raises:
      CellError: if two columns would be one in the tables, or the header is not CSV or not UTF-8.
    """
    with _open_text(fs, path) as file:
        for _, fields in _csv_records(_Lines(file)):
            return _checked_header(fields)
    return []


def _csv_rows(lines: _Lines) -> Iterator[tuple[int, dict[str, Any] | CellError]]:
    header: list[str] | None = None
    for line, fields in _csv_records(lines):
        if header is None:
            header = _checked_header(fields)
        elif isinstance(fields, CellError):
            yield line, fields
        elif any(fields[len(header) :]):
            cause = f"the row has {len(fields)} fields, the header {len(header)}"
            yield line, CellError(cause, "put fields with a comma in quotes")
        else:
            yield line, dict(zip(header, fields, strict=False))


def _checked_header(names: list[str] | CellError) -> list[str]:
    if isinstance(names, CellError):
        raise names
    for name in names:
        checked_text(name)
    check_names(names)
    return names


def _json_rows(lines: _Lines) -> Iterator[tuple[int, dict[str, Any] | CellError]]:
    decoder = json.JSONDecoder(object_pairs_hook=_read_object, parse_int=_read_integer, parse_float=_read_number)
    while True:
        lines.begin()
        try:
            line = next(lines).strip().lstrip("\ufeff")
            if line:
                yield lines.number, _checked_object(decoder.decode(line))
        except StopIteration:
            return
        except CellError as error:
            yield lines.number, error
        except RecursionError:
            yield lines.number, CellError(f"{shorten(line)} is nested too deeply", "flatten it")
        except ValueError as error:
            yield lines.number, CellError(f"{shorten(line)} is not JSON ({error})", "write one JSON object a line")


def _checked_object(value: Any) -> dict[str, Any]:
    if isinstance(value, UnfitValue):
        raise CellError(value.cause, value.remedy)
    if not isinstance(value, dict):
        raise CellError(f"{shorten(value)} is not a JSON object", "write one JSON object a line")
    check_names(value)
    return value


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | UnfitValue:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    return UnfitValue(f"an object with two values of {shorten(twice)}", twice, "remove one of them")


def _read_integer(text: str) -> int | UnfitValue:
    return int(text) if len(text) <= MAX_NUMBER_CHARS else _unfit_number(text)


def _read_number(text: str) -> float | UnfitValue:
    if len(text) > MAX_NUMBER_CHARS:
        return _unfit_number(text)
    value = float(text)
    return value if math.isfinite(value) else UnfitValue("a number beyond the range of doubles", text)


def _unfit_number(text: str) -> UnfitValue:
    return UnfitValue(f"a number of {len(text)} characters, more than {MAX_NUMBER_CHARS}", text)


def _parquet_rows(file: IO[bytes]) -> Iterator[ManifestRow]:
    parquet = pq.ParquetFile(file)
    end = 0
    for group in range(parquet.num_row_groups):
        number, end = end, end + parquet.metadata.row_group(group).num_rows
        batches = parquet.iter_batches(BATCH_ROWS, row_groups=[group])
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except (pa.ArrowException, OSError) as error:
                if not is_corrupt(error):
                    raise
                cause = f"the rows {number + 1} to {end} cannot be read ({shorten(str(error))})"
                yield ManifestRow(number=number + 1, error=CellError(cause, "write the file again"))
                break
            for values in zip(*map(_column_values, batch.columns), strict=True):
                number += 1
                yield ManifestRow(number=number, values=dict(zip(batch.schema.names, values, strict=True)))


def is_corrupt(error: Exception) -> bool:
    """Whether an error is due to the content of a Parquet file.

    Errors of the system have a number.
    """
    return isinstance(error, pa.ArrowException) or (isinstance(error, OSError) and error.errno is None)


def _column_values(column: pa.Array) -> list[Any]:
    if getattr(column.type, "unit", "") == "ns":
        return [_nanosecond_value(cell) if cell.is_valid else None for cell in column]
    try:
        return column.to_pylist()
    except Exception:  # a cell's type decides which; all other cells are good
        return [_cell_value(cell) for cell in column]


def _nanosecond_value(cell: pa.Scalar) -> Any:
    """A timestamp, time or duration in nanoseconds, which Python's own types lack."""
    if pa.types.is_duration(cell.type):
        return Decimal(cell.value) / 10**9
    micros, nanos = divmod(cell.value, 1000)
    kind = pa.time64("us") if pa.types.is_time(cell.type) else pa.timestamp("us", cell.type.tz)
    value = _cell_value(pa.scalar(micros, pa.int64()).cast(kind))
    if nanos == 0 or isinstance(value, UnfitValue):
        return value
    return re.sub(r"\.\d{6}", rf"\g<0>{nanos:03d}", value.isoformat(timespec="microseconds"))


def _cell_value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except Exception as error:
        return UnfitValue(f"a value that cannot be read ({type(error).__name__})", shorten(str(error)), "correct it")
