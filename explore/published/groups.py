"""Extracts single clips from the published archives, which hold thousands each.

A group is a compressed tar that must be read from its start. Only members of the wanted clips are written; reading
stops after the last of them.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import duckdb
import pyarrow as pa
from pyarrow.csv import read_csv

from explore.outputs import OutputError
from explore.published.streams import StreamError, open_stream, read_token
from storage.uris import is_url, normalize_uri

ARCHIVES = {
    "videos": "videos/group_{group:04d}.tar.gz",
    "annotations": "annotations/group_{group:04d}.tar.gz",
    "depths": "depths/group_{group:04d}.tar.gz",
}
ANNOTATION_FILES = frozenset(
    ["caption.json", "dyn_masks.npz", "indexes.txt", "instructions.json", "intrinsics.npy", "poses.npy"]
)
MAX_MEMBER_BYTES = 4 << 30
COPY_BYTES = 1 << 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """Outcome of a download.

    Attributes:
      files: files written now.
      present: pairs of clip and kind that were there already.
      missing: reason by "<kind> of <clip id>" for what could not be fetched.
    """

    files: int
    present: int
    missing: dict[str, str]


def select_clips(
    metadata_uri: str, ids: Collection[str], where: str | None, limit: int | None, token: str | None = None
) -> dict[int, list[str]]:
    """Ids of clips by the number of their group.

    Args:
      metadata_uri: the data set's table (CSV, columns `id` and `group id` or `group_id`).
      ids: wanted ids; all clips if empty.
      where: SQL condition over the table's columns.
      limit: largest number of clips, the first by id.
      token: access token.

    Raises:
      OutputError: if the table cannot be read, the condition is wrong, or an id is unknown.
    """
    with duckdb.connect() as database:
        try:
            with open_stream(metadata_uri, token) as file:
                listing = read_csv(file)
            group = next((name for name in ("group id", "group_id") if name in listing.column_names), None)
            if group is None or "id" not in listing.column_names:
                raise OutputError(f"{metadata_uri!r} lacks 'id' or 'group id': it has {listing.column_names}")
            database.register("listing", listing)
            condition = f"WHERE {where}" if where else ""
            columns = f'CAST(id AS VARCHAR), CAST("{group}" AS BIGINT)'
            rows = database.execute(f"SELECT {columns} FROM listing {condition}").fetchall()
        except (duckdb.Error, pa.ArrowInvalid, StreamError) as error:
            raise OutputError(f"{metadata_uri!r}: {error}") from error
    known = {clip_id: number for clip_id, number in rows if _ID.fullmatch(clip_id)}
    if unknown := sorted(set(ids) - set(known)):
        raise OutputError(f"{len(unknown)} ids are not in {metadata_uri!r} (or the condition), first {unknown[0]!r}")
    selected = sorted(ids or known)[:limit]
    groups: dict[int, list[str]] = defaultdict(list)
    for clip_id in selected:
        groups[known[clip_id]].append(clip_id)
    return dict(sorted(groups.items()))


def fetch_clips(
    base_uri: str,
    groups: Mapping[int, Sequence[str]],
    kinds: Sequence[str],
    folder: str,
    *,
    token: str | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> DownloadResult:
    """Writes the files of clips to `folder`, in the layout of the unpacked archives.

    Files that exist are not fetched again. A truncated or damaged archive costs only the clips after the damage.
    """
    written, present = 0, 0
    missing: dict[str, str] = {}
    for number, ids in groups.items():
        for kind in kinds:
            wanted = [i for i in ids if not _is_present(folder, kind, number, i)]
            present += len(ids) - len(wanted)
            if not wanted:
                continue
            uri = posixpath.join(base_uri, ARCHIVES[kind].format(group=number))
            on_progress(f"{uri}: {len(wanted)} clips")
            reason = "the archive does not hold it"
            try:
                with open_stream(uri, token) as stream:
                    written += _extract(stream, set(wanted), kind, os.path.join(folder, kind, f"group_{number:04d}"))
            except StreamError as error:
                reason = str(error)
            except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
                reason = f"{uri!r} is damaged or breaks off: {error}"
            for clip_id in wanted:
                if not _is_present(folder, kind, number, clip_id):
                    missing[f"{kind} of {clip_id}"] = reason
    return DownloadResult(files=written, present=present, missing=missing)


def _extract(stream: BinaryIO, wanted: set[str], kind: str, folder: str) -> int:
    """Writes the members of wanted clips until all are found; returns their number."""
    count = 0
    left = {clip_id: set(_names(kind, clip_id)) for clip_id in wanted}
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            found = _clip_of(member, kind, wanted)
            if found is None:
                continue
            clip_id, path = found
            source = archive.extractfile(member)
            if source is None or member.size > MAX_MEMBER_BYTES:
                continue
            _write(source, member.size, os.path.join(folder, path))
            count += 1
            left[clip_id].discard(posixpath.basename(path))
            if not any(left.values()):
                break
    return count


def _clip_of(member: tarfile.TarInfo, kind: str, wanted: Collection[str]) -> tuple[str, str] | None:
    """Clip id and path below the group's folder of a wanted member, else None.

    Leading folders are ignored: published members carry prefixes of their authors.
    """
    parts = member.name.replace("\\", "/").split("/")
    name = parts[-1]
    if not member.isfile() or name.startswith("."):
        return None
    if kind == "annotations":
        clip_id = parts[-2] if len(parts) > 1 else ""
        return (clip_id, posixpath.join(clip_id, name)) if clip_id in wanted and name in ANNOTATION_FILES else None
    clip_id, extension = posixpath.splitext(name)
    return (clip_id, name) if clip_id in wanted and extension == _EXTENSIONS[kind] else None


_EXTENSIONS = {"videos": ".mp4", "depths": ".zip"}


def _names(kind: str, clip_id: str) -> Iterator[str]:
    """File names of a clip in an archive."""
    yield from ANNOTATION_FILES if kind == "annotations" else (f"{clip_id}{_EXTENSIONS[kind]}",)


def _is_present(folder: str, kind: str, number: int, clip_id: str) -> bool:
    group = os.path.join(folder, kind, f"group_{number:04d}")
    inner = os.path.join(group, clip_id) if kind == "annotations" else group
    return all(os.path.exists(os.path.join(inner, name)) for name in _names(kind, clip_id))


def _write(source: object, size: int, path: str) -> None:
    """Writes a member atomically.

    Raises:
      EOFError: if the archive ends within the member.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.part"
    try:
        with open(temporary, "wb") as file:
            while data := source.read(COPY_BYTES):  # type: ignore[attr-defined]
                file.write(data)
        if os.path.getsize(temporary) != size:
            raise EOFError(f"{os.path.basename(path)} has {os.path.getsize(temporary)} of {size} bytes")
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def download(
    base_uri: str,
    metadata: str,
    folder: str,
    *,
    ids: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    kinds: Sequence[str] = ("videos", "annotations"),
    token_env: str | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> DownloadResult:
    """Selects clips by the data set's table and downloads their files.

    Args:
      base_uri: folder or address of the data set.
      metadata: its table, below `base_uri` or anywhere.
      folder: local folder to write to.
      ids: ids, or names of text files with one id a line.

    Raises:
      OutputError: as `select_clips`, or if the token is not set.
    """
    base_uri = normalize_uri(base_uri).rstrip("/")
    token = read_token(token_env)
    metadata_uri = metadata if is_url(metadata) or os.path.exists(metadata) else posixpath.join(base_uri, metadata)
    groups = select_clips(metadata_uri, list(_read_ids(ids)), where, limit, token)
    return fetch_clips(base_uri, groups, kinds, folder, token=token, on_progress=on_progress)


def _read_ids(ids: Sequence[str]) -> Iterator[str]:
    for name in ids:
        if os.path.isfile(name):
            with open(name, encoding="utf-8") as file:
                yield from (line.strip() for line in file if line.strip())
        else:
            yield name
