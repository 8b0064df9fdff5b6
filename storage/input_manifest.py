"""Columns and videos of an input manifest."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow.parquet as pq

from core.failures import ItemError
from core.records import Scalar, VideoRecord, make_video_id
from storage.manifest_columns import (
    NULL,
    TEXT,
    CellError,
    SourceError,
    arrow_kind,
    check_names,
    column_name,
    common_kind,
    convert_cell,
    shorten,
    value_kind,
)
from storage.manifest_rows import ManifestRow, read_header, read_rows
from storage.uris import is_url, normalize_uri

TYPE_SAMPLE_ROWS, MAX_URI_CHARS = 1000, 4096
_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def read_types(uri: str, fs: fsspec.AbstractFileSystem, path: str) -> dict[str, str]:
    """Types of the columns to pass through.

    Of JSON Lines and CSV they are inferred from the first rows.

    Raises:
      SourceError: if there is no column `uri`, or the columns do not fit in one table.
    """
    extension = posixpath.splitext(path)[1].lower()
    kinds: dict[str, str] = {}
    first_error = ""
    try:
        if extension == ".parquet":
            with fs.open(path, "rb") as file:
                schema = pq.read_schema(file)
            check_names(schema.names)
            kinds = {f.name: arrow_kind(f.type) for f in schema}
        elif extension == ".csv":
            kinds = dict.fromkeys(read_header(fs, path), TEXT)
        else:
            for row in itertools.islice(read_rows(fs, path), TYPE_SAMPLE_ROWS):
                first_error = first_error or (f"; {row.place}: {row.error}" if row.error else "")
                for name, value in row.values.items():
                    kinds[name] = common_kind(kinds.get(name, NULL), value_kind(value))
            check_names(kinds)
    except CellError as error:
        raise SourceError(f"manifest {uri!r}: {error}. Remedy: {error.remedy}") from error
    if "uri" not in kinds:
        raise SourceError(
            f"manifest {uri!r} has no column 'uri': it has {shorten(sorted(kinds)) if kinds else 'no rows'}"
            f"{first_error}; add a header row with `uri`, and optionally `id` and further columns"
        )
    return {column_name(name): kind for name, kind in kinds.items() if name not in ("uri", "id")}


def _is_valid_url(uri: str) -> bool:
    try:
        urlsplit(uri)
    except ValueError:
        return not is_url(uri.strip())
    return True


def _bad_row(cause: str, remedy: str) -> ItemError:
    return ItemError("BadManifestRow", f"{cause}.", f"{remedy}.")


def to_video(row: ManifestRow, base: str, types: Mapping[str, str]) -> VideoRecord:
    """The video of a row, with its columns as the tables hold them.

    Args:
      row: the row.
      base: folder that relative paths refer to.
      types: of the columns to pass through.

    Raises:
      ItemError: BadManifestRow or InvalidId.
    """
    if row.error:
        raise _bad_row(str(row.error), row.error.remedy)
    values, uri = row.values, row.values.get("uri")
    if uri is None or uri == "" or (isinstance(uri, str) and not uri.strip()):
        raise _bad_row(f"the row has no uri: {shorten(dict(values))}", "fill the column `uri`, or remove the row")
    if not isinstance(uri, str) or "\0" in uri or not _is_valid_url(uri):
        raise _bad_row(f"column 'uri' holds {shorten(uri)}, which is no path or URL", "correct the column `uri`")
    uri = normalize_uri(uri.strip() if is_url(uri.strip()) else uri, base)
    if len(str(_converted("uri", uri, TEXT))) > MAX_URI_CHARS:
        raise _bad_row(f"column 'uri' holds more than {MAX_URI_CHARS} characters: {shorten(uri)}", "correct it")
    video_id = _converted("id", values.get("id"), TEXT)
    if video_id in (None, ""):
        video_id = make_video_id(uri)
    if not _ID_PATTERN.fullmatch(str(video_id)):
        raise ItemError(
            "InvalidId",
            f"id {shorten(video_id)} of {shorten(uri)} cannot be used in file names",
            "use up to 128 letters, digits, '_' or '-', beginning with a letter or digit.",
        )
    extra = {}
    for name, value in values.items():
        column = column_name(name)
        if name in ("uri", "id") or (column not in types and value is None):
            continue
        if column not in types:
            cause = (
                f"column {shorten(name)} holds {shorten(value)}, but none of the first {TYPE_SAMPLE_ROWS} rows has it"
            )
            raise _bad_row(cause, "add it to one of them, or remove it")
        extra[column] = _converted(name, value, types[column])
    return VideoRecord(video_id=str(video_id), uri=uri, extra=dict(sorted(extra.items())))


def _converted(name: str, value: Any, kind: str) -> Scalar:
    try:
        return convert_cell(value, kind)
    except CellError as error:
        cause = f"column {shorten(name)} holds {shorten(value)}: {error}"
        raise _bad_row(cause, error.remedy) from error
