"""Writes the files of a data set: WebDataset shards, Parquet tables and the manifest, reproducibly."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.references import Ref
from core.serialization import to_json_text
from storage.local_files import work_folder
from storage.store import Store

MANIFEST_PATH = "manifest.json"
TAR, PARQUET = "application/x-tar", "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file of the data set: path, rows or clips, size and SHA-256.

    The path is below the data set's folder.
    """

    path: str
    count: int
    size_bytes: int
    sha256: str


def partition_of(key: str, partitions: int) -> int:
    """Partition of a key by its SHA-256: the same on every runner."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16) % partitions


def shard_path(index: int, shards: int) -> str:
    """Path of a shard below the output folder."""
    return f"shards/clips-{index:05d}-of-{shards:05d}.tar"


def table_path(table: str, index: int, files: int) -> str:
    """Path of one file of a table below the output folder."""
    return f"{table}.parquet/part-{index:05d}-of-{files:05d}.parquet"


def write_shard(output: Store, path: str, members: Iterable[tuple[str, bytes | Path]], num_clips: int) -> OutputFile:
    """Writes a WebDataset shard (tar) of members.

    A member is a name, and content or a local file with it.

    Members keep their order; owner, time and mode are constant.
    """
    with work_folder("shard", tempfile.gettempdir()) as folder:
        local = os.path.join(folder, "shard.tar")
        with tarfile.open(local, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in members:
                member = tarfile.TarInfo(name)
                member.mode = 0o644
                with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as content:
                    member.size = content.seek(0, os.SEEK_END)
                    content.seek(0)
                    tar.addfile(member, content)
        return put_output_file(output, local, path, num_clips, TAR)


def write_table(output: Store, path: str, data: pa.Table) -> OutputFile:
    """Writes one Parquet file of a table; the order of rows is kept."""
    with work_folder("table", tempfile.gettempdir()) as folder:
        local = os.path.join(folder, "part.parquet")
        pq.write_table(data, local, compression="zstd")
        return put_output_file(output, local, path, data.num_rows, PARQUET)


def put_output_file(output: Store, local: str, path: str, count: int, media_type: str) -> OutputFile:
    """Moves a local file of `count` rows or clips to `path` below the output folder."""
    with open(local, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    ref = output.put_file(local, path, media_type, sha256)
    return OutputFile(path=path, count=count, size_bytes=ref.size_bytes, sha256=sha256)


def check_file(output: Store, file: OutputFile, *, digest: bool = True) -> None:
    """Checks a file of the data set against what was written.

    Args:
      output: the data set's folder.
      file: path, size and digest that were written.
      digest: whether it is read; else only its size is compared.

    Raises:
      DamagedError: if it is absent or another one.
    """
    output.check(Ref(path=file.path, size_bytes=file.size_bytes, digest=file.sha256, media_type=""), digest=digest)


def write_manifest(output: Store, files: Iterable[OutputFile], subset: Mapping[str, Any] | None = None) -> str:
    """Writes the manifest, after all other files of the data set; returns its path.

    Args:
      output: the data set's folder.
      files: all shards and table files.
      subset: for a subset of another data set: which one, and how the clips were selected.
    """
    listed = sorted(files, key=lambda file: file.path)
    for folder in sorted({posixpath.dirname(file.path) for file in listed}):
        output.sync(folder)
    document: dict[str, Any] = {"files": listed}
    if subset is not None:
        document["subset"] = subset
    output.write_bytes(MANIFEST_PATH, (to_json_text(document) + "\n").encode(), "application/json")
    output.sync("")
    return MANIFEST_PATH
