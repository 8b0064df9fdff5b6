"""Verification of a finished run: every listed file against its digest, tables against shards."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from core.serialization import from_jsonable
from explore.outputs import TABLES, OutputError, read_manifest
from storage.manifest import OutputFile, check_file
from storage.store import DamagedError, Store
from storage.uris import normalize_uri

_CHUNK_BYTES = 1 << 20
_DIGEST_CHARS = 32
_UNREADABLE = (OSError, ValueError, tarfile.TarError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one file: a problem, or None if it is as it was written."""

    path: str
    num_bytes: int
    problem: str | None


def verify_output(output_uri: str) -> Iterator[Finding]:
    """Checks every file that the manifest lists, and each shard's clips against the clip table.

    Files are read as streams; a shard is read twice.

    Raises:
      OutputError: if the folder is no finished run.
    """
    output = Store(normalize_uri(output_uri))
    files = _listed_files(output)
    problems = {file.path: _file_problem(output, file) for file in files}
    tables = [file for file in files if file.path.endswith(".parquet")]
    shards = [file for file in files if file.path.endswith(".tar")]
    for file in tables:
        yield Finding(file.path, file.size_bytes, problems[file.path] or _table_problem(output, file))
    for name in TABLES:
        if not any(file.path.startswith(f"{name}.parquet/") for file in tables):
            yield Finding(f"{name}.parquet", 0, "the manifest lists no file of this table")
    clip_files = [file for file in tables if file.path.startswith("clips.parquet/")]
    # Clips of a damaged table are unknown: shards are then checked by themselves.
    readable = all(problems[file.path] is None for file in clip_files)
    expected = _kept_clips(output, clip_files) if clip_files and readable else None
    for file in shards:
        clips = None if expected is None else expected.pop(file.path, {})
        yield Finding(file.path, file.size_bytes, problems[file.path] or _shard_problem(output, file, clips))
    for path, clips in (expected or {}).items():
        yield Finding(path, 0, f"the manifest lists no such shard, but the table has {len(clips)} clips in it")


def _listed_files(output: Store) -> list[OutputFile]:
    try:
        return [from_jsonable(OutputFile, file) for file in read_manifest(output)]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, OutputError):
            raise
        cause = " ".join(str(error).split())
        raise OutputError(f"the manifest of {output.root_uri!r} is damaged ({cause}): run the job again") from error


def _file_problem(output: Store, file: OutputFile) -> str | None:
    try:
        check_file(output, file)
    except DamagedError as error:
        return error.problem
    return None


def _table_problem(output: Store, file: OutputFile) -> str | None:
    try:
        with output.fs.open(output.full_path(file.path), "rb") as source:
            rows = pq.ParquetFile(source).metadata.num_rows
    except _UNREADABLE as error:
        return f"cannot be read ({error})"
    return None if rows == file.count else f"has {rows} rows, not {file.count}"


def _kept_clips(output: Store, files: list[OutputFile]) -> dict[str, dict[str, str]]:
    """By shard: id and digest of the kept clips' videos, as the table says."""
    expected: dict[str, dict[str, str]] = {}
    for file in files:
        with output.fs.open(output.full_path(file.path), "rb") as source:
            table = pq.ParquetFile(source).read(["clip_id", "status", "shard", "clip_sha256_128"])
        for row in table.to_pylist():
            if row["status"] == "kept":
                expected.setdefault(row["shard"], {})[row["clip_id"]] = row["clip_sha256_128"]
    return expected


def _shard_problem(output: Store, file: OutputFile, expected: dict[str, str] | None) -> str | None:
    """How a shard's clips differ from the table's; `expected` is None where they are unknown."""
    try:
        found = _video_digests(output, file.path)
    except _UNREADABLE as error:
        return f"cannot be read ({error})"
    if len(found) != file.count:
        return f"has {len(found)} clips, not {file.count}"
    if expected is None:
        return None
    if strange := sorted(found.keys() ^ expected.keys()):
        return f"and the clip table disagree on {len(strange)} clips, such as {strange[0]}"
    wrong = sorted(clip for clip, digest in found.items() if digest != expected[clip])
    return f"holds another video of clip {wrong[0]} than the table says" if wrong else None


def _video_digests(output: Store, path: str) -> dict[str, str]:
    """Digests of a shard's videos by clip."""
    found: dict[str, str] = {}
    with output.fs.open(output.full_path(path), "rb") as source, tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            clip_id, _, suffix = member.name.partition(".")
            content = tar.extractfile(member) if suffix == "mp4" else None
            if content is not None:
                hasher = hashlib.sha256()
                while chunk := content.read(_CHUNK_BYTES):
                    hasher.update(chunk)
                found[clip_id] = hasher.hexdigest()[:_DIGEST_CHARS]
    return found
