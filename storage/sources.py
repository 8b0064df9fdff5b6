"""What people name as input: files, folders, globs and manifests, local or behind any fsspec URI."""

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
    """The input as a whole makes no sense; raised before anything runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One `--input` of the command line.

    Attributes:
      uri: file, folder, glob or manifest.
      extra_types: manifest columns to carry, name to "string", "int64", "double" or "bool".
    """

    uri: str
    extra_types: Mapping[str, str] = field(default_factory=dict)


def is_manifest(uri: str) -> bool:
    """Whether a URI names a manifest, by its extension."""
    return posixpath.splitext(uri)[1].lower() in MANIFEST_EXTENSIONS


def make_spec(uri: str) -> SourceSpec:
    """Checks one `--input` and finds the types of a manifest's columns.

    Raises:
      UriError: if no installed package serves the protocol.
      SourceError: if the place does not exist, holds no video, or the manifest has no `uri` column.
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
    # One match is enough to know: all of them are looked for by a worker.
    if not fs.exists(path) and next(stream_files(fs, path), None) is None:
        raise SourceError(f"input {uri!r} does not exist or matches no file: check --input")
    return SourceSpec(uri=uri)


def list_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    """All videos that a source names, as records, of which only a few are held at a time.

    What cannot be used comes as a record with its failure: a bad manifest row, a folder that cannot be read, a source
    without any video.
    """
    found = False
    for video in _manifest_videos(spec) if is_manifest(spec.uri) else _stored_videos(spec):
        found = True
        yield video
    if not found:
        extensions = " ".join(sorted(VIDEO_EXTENSIONS))
        remedy = f"check --input. In folders, files are looked for that end with one of {extensions}."
        yield _failed_listing(spec.uri, "NothingFound", f"{spec.uri!r} holds no video. Remedy: {remedy}")


def _stored_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    """The file, those with a video's extension below the folder, or those behind the pattern."""
    fs, path = open_uri(spec.uri)
    unreadable: list[OSError] = []
    any_name = not fs.isdir(path)
    for found in stream_files(fs, path, on_error=unreadable.append):
        if any_name or posixpath.splitext(found)[1].lower() in VIDEO_EXTENSIONS:
            yield _listed_video(found if is_local(fs) else fs.unstrip_protocol(found))
        while unreadable:
            yield _unreadable_folder(unreadable.pop())
    yield from map(_unreadable_folder, unreadable)


def _unreadable_folder(error: OSError) -> VideoRecord:
    folder = str(error.filename or error)
    message = f"the folder {folder!r} cannot be read ({error.strerror or error}). Remedy: check its rights."
    return _failed_listing(folder, "UnreadableFolder", message)


def _failed_listing(uri: str, error_class: str, message: str) -> VideoRecord:
    failure = Failure(stage="ListVideos", error_class=error_class, message=message)
    return VideoRecord(video_id=make_video_id(uri), uri=uri, failure=failure)


def _listed_video(uri: str) -> VideoRecord:
    try:
        uri.encode()
    except UnicodeEncodeError:
        shown = uri.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        message = f"the name of {shown!r} is not UTF-8, which tables cannot hold. Remedy: rename the file."
        return dataclasses.replace(_failed_listing(uri, "InvalidFileName", message), uri=shown)
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
    """Types of the columns to carry. JSON lines and CSV are judged by their first rows."""
    kinds: dict[str, str | None] = {}
    if uri.lower().endswith(".parquet"):
        fs, path = open_uri(uri)
        with fs.open(path, "rb") as file:
            schema = pq.read_schema(file)
        kinds = {f.name: _arrow_kind(f.type) for f in schema}
    else:
        for index, row in enumerate(_manifest_rows(uri)):
            if index == TYPE_SAMPLE_ROWS:
                break
            for name, value in row.items():
                kinds[name] = _wider(kinds.get(name), value)
    if "uri" not in kinds:
        raise SourceError(
            f"manifest {uri!r} has no column 'uri': it has {sorted(kinds) or 'no rows'}; add a header row "
            "with `uri` and, if you like, `id` and further columns"
        )
    return {column_name(n): k or "string" for n, k in kinds.items() if n not in ("uri", "id", "__error__")}


def column_name(name: str) -> str:
    """Name under which a manifest column is carried: letters, digits and `_`, never one of ours."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII) or "column"
    return f"manifest_{clean}" if clean in RESERVED_COLUMNS or clean[0].isdigit() else clean


def _arrow_kind(arrow_type: pa.DataType) -> str:
    if pa.types.is_boolean(arrow_type):
        return "bool"
    if pa.types.is_integer(arrow_type):
        return "int64"
    return "double" if pa.types.is_floating(arrow_type) else "string"


def _wider(kind: str | None, value: Any) -> str | None:
    """The narrowest type that holds what was seen so far and `value`."""
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
            yield _failed_listing(f"{spec.uri}#row={number}", error.error_class, str(error))


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
            f"id {video_id!r} of {uri!r} cannot be part of file names",
            "use up to 128 letters, digits, '_' or '-', beginning with a letter or digit.",
        )
    extra = {
        column_name(name): _typed(name, value, types.get(column_name(name), "string"))
        for name, value in row.items()
        if name not in ("uri", "id") and column_name(name) in types
    }
    return VideoRecord(video_id=video_id, uri=uri, extra=dict(sorted(extra.items())))


def _typed(name: str, value: Any, kind: str) -> Scalar:
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    if kind == "double" and isinstance(value, int | float):
        # Not a number, or infinite: tables and JSON have null for a value that there is not.
        return float(value) if math.isfinite(value) else None
    wanted: type = {"int64": int, "bool": bool}.get(kind, float)
    if isinstance(value, wanted) and isinstance(value, int | float | bool):
        return value
    raise ItemError(
        "BadManifestRow",
        f"column {name!r} holds {value!r}, but the rows before it hold {kind}",
        "give the column one type.",
    )
