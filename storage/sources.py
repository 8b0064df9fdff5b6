"""Lists input videos: files, folders, globs and manifests, at local paths or fsspec URIs."""

from __future__ import annotations

import dataclasses
import logging
import posixpath
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from core.failures import Failure, ItemError
from core.records import VideoRecord, make_video_id
from storage.input_manifest import read_types, to_video
from storage.listing import stream_files
from storage.manifest_columns import CellError, merge_kinds
from storage.manifest_columns import SourceError as SourceError
from storage.manifest_rows import read_rows
from storage.uris import is_local, is_utf8, normalize_uri, open_uri, url_scheme

logger = logging.getLogger(__name__)

# fmt: off
VIDEO_EXTENSIONS = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".av1", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264",
    ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov",
    ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb",
    ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
))
# fmt: on
MANIFEST_EXTENSIONS = frozenset((".csv", ".jsonl", ".ndjson", ".parquet"))
URL_SCHEMES = ("gs", "gcs", "s3", "s3a", "http", "https")
FOLDER_CHECK_S = 0.5
MAX_EXTENSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One `--input` of the command line.

    Attributes:
      uri: file, folder, glob or manifest.
      extra_types: manifest columns to pass through: name to "string", "int64", "double", "bool" or "null".
      url_schemes: URL schemes that rows of a manifest may name, beside that of the manifest itself.
    """

    uri: str
    extra_types: Mapping[str, str] = field(default_factory=dict)
    url_schemes: Sequence[str] = URL_SCHEMES


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
    if not is_utf8(uri):
        raise SourceError(f"the name of input {uri!r} is not UTF-8: rename it")
    fs, path = open_uri(uri)
    try:
        return _checked_spec(uri, fs, path)
    except SourceError:
        raise
    except Exception as error:  # each remote file system has its own exceptions
        if is_local(fs) and not isinstance(error, pa.ArrowException | OSError):
            raise
        remedy = "file and its permissions" if is_local(fs) else "URI and your credentials"
        cause = f"{type(error).__name__}: {error}"
        raise SourceError(f"input {uri!r} cannot be read ({cause}): check the {remedy}") from error


def make_specs(uris: Iterable[str]) -> tuple[SourceSpec, ...]:
    """Checks all `--input`s and gives each column one type in all manifests; see `make_spec`."""
    return merge_types([make_spec(uri) for uri in uris])


def merge_types(sources: Sequence[SourceSpec]) -> tuple[SourceSpec, ...]:
    """The sources with one type for each column: numbers widen, text and others become text.

    Raises:
      SourceError: if the columns of two manifests differ in case only.
    """
    try:
        kinds = merge_kinds(source.extra_types for source in sources)
    except CellError as error:
        raise SourceError(f"the manifests do not fit together: {error}. Remedy: {error.remedy}") from error
    return tuple(
        dataclasses.replace(source, extra_types={name: kinds[name] for name in source.extra_types})
        for source in sources
    )


def _checked_spec(uri: str, fs: fsspec.AbstractFileSystem, path: str) -> SourceSpec:
    if is_manifest(uri):
        if not fs.exists(path):
            raise SourceError(f"manifest {uri!r} does not exist: check --input")
        if fs.isdir(path):
            raise SourceError(f"{uri!r} is a folder with the extension of a manifest: name the files in it instead")
        return SourceSpec(uri=uri, extra_types=read_types(uri, fs, path))
    # One match suffices here: a worker lists all of them.
    if not fs.exists(path) and next(stream_files(fs, path), None) is None:
        raise SourceError(f"input {uri!r} does not exist or matches no file: check --input")
    if is_local(fs) and fs.isdir(path):
        _check_folder(uri, path)
    return SourceSpec(uri=uri)


def _check_folder(uri: str, path: str) -> None:
    """Raises SourceError for a local folder without videos."""
    deadline = time.monotonic() + FOLDER_CHECK_S
    others: Counter[str] = Counter()
    errors: list[OSError] = []
    for found in stream_files(LocalFileSystem(), path, errors.append):
        extension = _extension(found)
        if extension in VIDEO_EXTENSIONS or time.monotonic() > deadline:
            return
        others[extension] += 1
    if not errors:
        raise SourceError(_nothing_found(uri, others))


def list_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    """Yields a record for each video of a source, streaming.

    Errors are yielded as records with a failure: a bad manifest row, a folder that cannot be read, a source without any
    video.
    """
    found = False
    others: Counter[str] = Counter()
    for video in _manifest_videos(spec) if is_manifest(spec.uri) else _scan_videos(spec, others):
        found = True
        yield video
    if not found:
        yield _failed_record(spec.uri, "NothingFound", _nothing_found(spec.uri, others))
    elif others:
        logger.info("%s: %s", spec.uri, _passed_over(others))


def _extension(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _passed_over(others: Counter[str]) -> str:
    """Counts of files that are no videos, by extension."""
    counts = [f"{count} {extension or 'without extension'}" for extension, count in others.most_common(MAX_EXTENSIONS)]
    if len(others) > MAX_EXTENSIONS:
        counts.append(f"{len(others) - MAX_EXTENSIONS} other extensions")
    files = "1 file" if others.total() == 1 else f"{others.total()} files"
    text = f"{files} passed over ({', '.join(counts)})"
    return text.encode(errors="backslashreplace").decode()


def _nothing_found(uri: str, others: Counter[str]) -> str:
    extensions = " ".join(sorted(VIDEO_EXTENSIONS))
    what = f" {_passed_over(others)}." if others else ""
    remedy = f"check --input. Folders are searched for files with one of the extensions {extensions}."
    return f"{uri!r} holds no video.{what} Remedy: {remedy}"


def _scan_videos(spec: SourceSpec, others: Counter[str]) -> Iterator[VideoRecord]:
    """Yields the file, the folder's videos (by extension), or the glob's matches.

    Counts other files of a folder by extension in `others`.
    """
    fs, path = open_uri(spec.uri)
    unreadable: list[OSError] = []
    is_explicit = not fs.isdir(path)
    for found in stream_files(fs, path, on_error=unreadable.append):
        if is_explicit or _extension(found) in VIDEO_EXTENSIONS:
            yield _video_record(found if is_local(fs) else fs.unstrip_protocol(found))
        else:
            others[_extension(found)] += 1
        while unreadable:
            yield _unreadable_folder(unreadable.pop())
    yield from map(_unreadable_folder, unreadable)


def _unreadable_folder(error: OSError) -> VideoRecord:
    folder = _printable(str(error.filename or error))
    message = f"the folder {folder!r} cannot be read ({error.strerror or error}). Remedy: check its permissions."
    return _failed_record(folder, "UnreadableFolder", message)


def _printable(name: str) -> str:
    """A file name with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _failed_record(uri: str, error_class: str, message: str) -> VideoRecord:
    failure = Failure(stage="ListVideos", error_class=error_class, message=message)
    return VideoRecord(video_id=make_video_id(uri), uri=uri, failure=failure)


def _video_record(uri: str) -> VideoRecord:
    if is_utf8(uri):
        return VideoRecord(video_id=make_video_id(uri), uri=uri)
    printable = _printable(uri)
    message = f"the name of {printable!r} is not UTF-8, which tables cannot hold. Remedy: rename the file."
    return dataclasses.replace(_failed_record(uri, "InvalidFileName", message), uri=printable)


def _manifest_videos(spec: SourceSpec) -> Iterator[VideoRecord]:
    base, name = posixpath.split(spec.uri)
    for row in read_rows(*open_uri(spec.uri)):
        try:
            video = to_video(row, base, spec.extra_types)
            _check_scheme(video.uri, spec)
            yield video
        except ItemError as error:
            message = f"{name}, {row.place}: {error}"
            yield _failed_record(f"{spec.uri}#row={row.number}", error.error_class, message)


def _check_scheme(uri: str, spec: SourceSpec) -> None:
    """Raises ItemError where a row names a URL that manifests may not reach; nothing was requested yet."""
    scheme = url_scheme(uri)
    if scheme and scheme not in (*spec.url_schemes, url_scheme(spec.uri)):
        cause = f"column 'uri' names a URL of the scheme {scheme!r}, which manifests may not use."
        raise ItemError("BadManifestRow", cause, "allow it by `run.url_schemes`, or copy the video elsewhere.")
