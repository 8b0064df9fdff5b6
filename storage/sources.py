"""Lists input videos: files, folders, globs and manifests, at local paths or fsspec URIs."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from core.failures import Failure, ItemError
from core.records import Scalar, VideoRecord, make_video_id
from storage.listing import stream_files
from storage.tables import RESERVED_COLUMNS
from storage.uris import is_local, is_url, normalize_uri, open_uri

VIDEO_EXTENSIONS = frozenset(
    [
        ".3gp",
        ".avi",
        ".flv",
        ".h264",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    ]
)
MANIFEST_EXTENSIONS = frozenset((".csv", ".jsonl", ".ndjson", ".parquet"))
TYPE_SAMPLE_ROWS = 1000
_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class SourceError(ValueError):
    """Invalid input; raised before the job runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One `--input` of the command line.

    Attributes:
      uri: file, folder, glob or manifest.
      extra_types: manifest columns to pass through: name to "string", "int64", "double" or "bool".
    """

    uri: str
    extra_types: Mapping[str, str] = field(default_factory=dict)


def is_manifest(uri: str) -> bool:
    """Whether a URI is that of a manifest, by its extension."""
    return posixpath.splitext(uri)[1].lower() in MANIFEST_EXTENSIONS


def make_spec(uri: str) -> SourceSpec:
    """Checks one `--input` and infers the types of a manifest's columns.

    Raises:
      UriError: if no installed package supports the protocol.
      SourceError: if the path does not exist or matches no file, or the manifest has no `uri` column.
    """
    uri = normalize_uri(uri)
    fs, path = open_uri(uri)
    try:
        return _checked_spec(uri, fs, path)
    except (SourceError, UnicodeError):
        raise
    except Exception as error:  # each remote file system has its own exceptions
        if is_local(fs):
            raise
        raise SourceError(
            f"input {uri!r} cannot be read ({type(error).__name__}: {error}): check the URI and your credentials"
        ) from error


def _checked_spec(uri: str, fs: fsspec.AbstractFileSystem, path: str) -> SourceSpec:
    if is_manifest(uri):
        if not fs.exists(path):
            raise SourceError(f"manifest {uri!r} does not exist: check --input")
        return SourceSpec(uri=uri, extra_types=_manifest_types(uri))
    # One match suffices here: a worker lists all of them.
    if not fs.exists(path) and next(stream_files(fs, path), None) is None:
        raise SourceError(f"input {uri!r} does not exist or matches no file: check --input")
    return SourceSpec(uri=uri)


def list_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    """Yields a record for each video of a source, streaming.

    Errors are yielded as records with a failure: a bad manifest row, a folder that cannot be read, a source without any
    video.
    """
    found = False
    for video in _manifest_videos(spec) if is_manifest(spec.uri) else _scan_videos(spec):
        found = True
        yield video
    if not found:
        extensions = " ".join(sorted(VIDEO_EXTENSIONS))
        remedy = f"check --input. Folders are searched for files with one of the extensions {extensions}."
        yield _failed_record(spec.uri, "NothingFound", f"{spec.uri!r} holds no video. Remedy: {remedy}")


def _scan_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    """Yields the file, the videos below the folder (by extension), or the matches of the glob."""
    fs, path = open_uri(spec.uri)
    unreadable: list[OSError] = []
    is_explicit = not fs.isdir(path)
    for found in stream_files(fs, path, on_error=unreadable.append):
        if is_explicit or posixpath.splitext(found)[1].lower() in VIDEO_EXTENSIONS:
            yield _video_record(found if is_local(fs) else fs.unstrip_protocol(found))
        while unreadable:
            yield _unreadable_folder(unreadable.pop())
    yield from map(_unreadable_folder, unreadable)


def _unreadable_folder(error: OSError) -> VideoRecord:
    folder = str(error.filename or error)
    message = f"the folder {folder!r} cannot be read ({error.strerror or error}). Remedy: check its permissions."
    return _failed_record(folder, "UnreadableFolder", message)


def _failed_record(uri: str, error_class: str, message: str) -> VideoRecord:
    failure = Failure(stage="ListVideos", error_class=error_class, message=message)
    return VideoRecord(video_id=make_video_id(uri), uri=uri, failure=failure)


def _video_record(uri: str) -> VideoRecord:
    try:
        uri.encode()
    except UnicodeEncodeError:
        printable = uri.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        message = f"the name of {printable!r} is not UTF-8, which tables cannot hold. Remedy: rename the file."
        return dataclasses.replace(_failed_record(uri, "InvalidFileName", message), uri=printable)
    return VideoRecord(video_id=make_video_id(uri), uri=uri)


def _manifest_rows(uri: str) -> Iterator[dict[str, Any]]:
    extension = posixpath.splitext(uri)[1].lower()
    fs, path = open_uri(uri)
    if extension == ".parquet":
        with fs.open(path, "rb") as file:
            for batch in pq.ParquetFile(file).iter_batches():
                yield from batch.to_pylist()
        return
    with fs.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        if extension == ".csv":
            for row in csv.DictReader(file):
                yield {k: v for k, v in row.items() if k is not None}
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    row = {"uri": None, "__error__": f"line {number} is not JSON ({error})"}
                yield row if isinstance(row, dict) else {"uri": None}


def _manifest_types(uri: str) -> dict[str, str]:
    """Types of the columns to pass through; inferred from the first rows of JSON Lines and CSV."""
    types_found: dict[str, str | None] = {}
    if uri.lower().endswith(".parquet"):
        fs, path = open_uri(uri)
        with fs.open(path, "rb") as file:
            schema = pq.read_schema(file)
        types_found = {f.name: _arrow_type_name(f.type) for f in schema}
    else:
        for index, row in enumerate(_manifest_rows(uri)):
            if index == TYPE_SAMPLE_ROWS:
                break
            for name, value in row.items():
                types_found[name] = _common_type(types_found.get(name), value)
    if "uri" not in types_found:
        raise SourceError(
            f"manifest {uri!r} has no column 'uri': it has {sorted(types_found) or 'no rows'}; add a header row "
            "with `uri`, and optionally `id` and further columns"
        )
    return {column_name(n): k or "string" for n, k in types_found.items() if n not in ("uri", "id", "__error__")}


def column_name(name: str) -> str:
    """Table column of a manifest column: letters, digits and `_`; never a reserved name."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII) or "column"
    return f"manifest_{clean}" if clean in RESERVED_COLUMNS or clean[0].isdigit() else clean


def _arrow_type_name(arrow_type: pa.DataType) -> str:
    if pa.types.is_boolean(arrow_type):
        return "bool"
    if pa.types.is_integer(arrow_type):
        return "int64"
    return "double" if pa.types.is_floating(arrow_type) else "string"


def _common_type(kind: str | None, value: Any) -> str | None:
    """The narrowest type that holds both `kind` and the type of `value`."""
    if value is None:
        return kind
    new = {bool: "bool", int: "int64", float: "double"}.get(type(value), "string")
    if kind is None or kind == new:
        return new
    return "double" if {kind, new} == {"int64", "double"} else "string"


def _manifest_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    base = posixpath.dirname(spec.uri)
    for number, row in enumerate(_manifest_rows(spec.uri), start=1):
        try:
            yield _manifest_video(row, base, spec.extra_types)
        except ItemError as error:
            yield _failed_record(f"{spec.uri}#row={number}", error.error_class, str(error))


def _manifest_video(row: Mapping[str, Any], base: str, types: Mapping[str, str]) -> VideoRecord:
    uri = row.get("uri")
    if not isinstance(uri, str) or not uri.strip():
        cause = row.get("__error__") or f"the row has no uri: {dict(row)!r}"
        raise ItemError("BadManifestRow", str(cause), "fill the column `uri`, or remove the row.")
    uri = normalize_uri(uri.strip() if is_url(uri.strip()) else uri, base)
    video_id = row.get("id")
    if video_id in (None, ""):
        video_id = make_video_id(uri)
    video_id = str(video_id)
    if not _ID_PATTERN.fullmatch(video_id):
        raise ItemError(
            "InvalidId",
            f"id {video_id!r} of {uri!r} cannot be used in file names",
            "use up to 128 letters, digits, '_' or '-', beginning with a letter or digit.",
        )
    extra = {
        column_name(name): _convert(name, value, types.get(column_name(name), "string"))
        for name, value in row.items()
        if name not in ("uri", "id") and column_name(name) in types
    }
    return VideoRecord(video_id=video_id, uri=uri, extra=dict(sorted(extra.items())))


def _convert(name: str, value: Any, kind: str) -> Scalar:
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    if kind == "double" and isinstance(value, int | float):
        # Tables and JSON store NaN and infinity as null.
        return float(value) if math.isfinite(value) else None
    type_: type = {"int64": int, "bool": bool}.get(kind, float)
    if isinstance(value, type_) and isinstance(value, int | float | bool):
        return value
    raise ItemError(
        "BadManifestRow",
        f"column {name!r} holds {value!r}, but the rows before it hold {kind}",
        "give the column one type.",
    )
