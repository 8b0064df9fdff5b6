"""Writes selected clips of a data set as a new one: shards, tables, manifest, report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.accounting import Accounting
from core.serialization import to_json_text
from explore.clips import ClipRow, ShardReader
from explore.outputs import RUN_FILE, OutputError, read_accounting, read_run, read_table, remove_stale_files
from explore.report import write_report
from storage.manifest import (
    MANIFEST_PATH,
    OutputFile,
    partition_of,
    shard_path,
    table_path,
    write_manifest,
    write_shard,
    write_table,
)
from storage.shard_members import complete_members, without_missing
from storage.store import Store
from storage.tables import table_specs
from storage.uris import normalize_uri

ROWS_PER_FILE = 100_000
_MAX_IDS = 5


def write_subset(
    output_uri: str,
    clip_ids: Sequence[str],
    folder_uri: str,
    *,
    how: Mapping[str, Any],
    clips_per_shard: int = 500,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Accounting:
    """Writes the selected clips as a new data set; returns its accounting.

    Equal source and selection give equal bytes. The manifest is written last; it names the source's manifest and the
    selection. `shard` is that of the new shards, `num_clips` of a video counts the clips of the subset;
    `sample_images` are empty, since the files stay in the source's store.

    Args:
      output_uri: folder of the finished run.
      clip_ids: clips to write, in any order; all must be kept.
      folder_uri: the new data set's folder: empty, or that of an earlier subset, which is replaced.
      how: how the clips were selected, for the manifest.
      clips_per_shard: clips in one tar, on average.
      on_progress: called with a line of progress after each shard.

    Raises:
      OutputError: if a clip is unknown or was not kept, or the folder holds something else.
    """
    source, target = Store(normalize_uri(output_uri)), Store(normalize_uri(folder_uri))
    _check_target(source, target)
    clips = _read_selected(output_uri, clip_ids)
    shards = -(-clips.num_rows // clips_per_shard)
    clips = _assign_shards(clips, shards)
    files = [_write_shard(output_uri, target, clips, index, shards, on_progress) for index in range(shards)]
    for name, data in _tables(output_uri, clips).items():
        files += _write_tables(target, name, data)
    manifest_sha256 = hashlib.sha256(source.read_bytes(MANIFEST_PATH)).hexdigest()
    write_manifest(target, files, subset={"source_manifest_sha256": manifest_sha256, **how})
    remove_stale_files(target)
    accounting = read_accounting(target.root_uri)
    run = {key: value for key, value in read_run(source).items() if key not in ("timing", "inputs", "stage_times")}
    run["accounting"] = accounting.as_dict()
    target.write_bytes(RUN_FILE, (to_json_text(run) + "\n").encode(), "application/json")
    write_report(target.root_uri)
    return accounting


def _check_target(source: Store, target: Store) -> None:
    if target.root_uri.rstrip("/") == source.root_uri.rstrip("/"):
        raise OutputError("a subset cannot be written into the data set itself: give another folder")
    if target.exists(MANIFEST_PATH):
        if "subset" not in json.loads(target.read_bytes(MANIFEST_PATH)):
            raise OutputError(f"{target.root_uri!r} holds a data set that is no subset: give another folder")
    elif target.exists("") and target.fs.ls(target.full_path(""), detail=False):
        raise OutputError(f"{target.root_uri!r} holds other files: give an empty or a new folder")


def _read_selected(output_uri: str, clip_ids: Sequence[str]) -> pa.Table:
    """Rows of the selected clips, ordered by id."""
    wanted = set(clip_ids)
    clips = read_table(output_uri, "clips")
    selected = clips.filter(pc.is_in(clips["clip_id"], value_set=pa.array(sorted(wanted), pa.string())))
    selected = selected.sort_by("clip_id")
    unknown = sorted(wanted.difference(selected["clip_id"].to_pylist()))
    if unknown:
        raise OutputError(f"the data set has no clip {', '.join(unknown[:_MAX_IDS])} ({len(unknown)} in all)")
    unkept = selected.filter(pc.not_equal(selected["status"], "kept"))["clip_id"].to_pylist()
    if unkept:
        raise OutputError(
            f"{len(unkept)} of the chosen clips were not kept and have no files, e.g. {', '.join(unkept[:_MAX_IDS])}: "
            "add WHERE status = 'kept'"
        )
    return selected


def _assign_shards(clips: pa.Table, shards: int) -> pa.Table:
    paths = [shard_path(partition_of(clip_id, shards), shards) for clip_id in clips["clip_id"].to_pylist()]
    changes = {"shard": pa.array(paths, pa.string()), "sample_images": pa.array([[]] * len(paths))}
    for name, values in changes.items():
        index = clips.schema.get_field_index(name)
        field = clips.schema.field(index)
        clips = clips.set_column(index, field, values.cast(field.type))
    return clips


def _write_shard(
    output_uri: str, target: Store, clips: pa.Table, index: int, shards: int, on_progress: Callable[[str], None]
) -> OutputFile:
    path = shard_path(index, shards)
    new_rows = clips.filter(pc.equal(clips["shard"], path)).select(["clip_id", "shard", "sample_images"]).to_pylist()
    ids = pa.array([row["clip_id"] for row in new_rows], pa.string())
    old = read_table(output_uri, "clips", ["clip_id", "shard", "status"])
    old_rows = {row["clip_id"]: row for row in old.filter(pc.is_in(old["clip_id"], value_set=ids)).to_pylist()}
    written = write_shard(target, path, _members(output_uri, new_rows, old_rows), len(new_rows))
    on_progress(f"{path}: {len(new_rows)} clips")
    return written


def _members(
    output_uri: str, new_rows: Sequence[ClipRow], old_rows: Mapping[str, ClipRow]
) -> Iterator[tuple[str, bytes]]:
    reader = ShardReader(output_uri)
    for new in new_rows:
        clip = reader.read(old_rows[new["clip_id"]])
        for suffix, data in complete_members(clip.files).items():
            if suffix == "json":
                data = to_json_text(without_missing({**json.loads(data), **new})).encode()
            yield f"{clip.clip_id}.{suffix}", data


def _tables(output_uri: str, clips: pa.Table) -> dict[str, pa.Table]:
    """The tables of the subset: its clips, their videos and shots, no failures."""
    counts = Counter(clips["video_id"].to_pylist())
    ids = pa.array(sorted(counts), pa.string())
    videos, shots = (read_table(output_uri, name) for name in ("videos", "shots"))
    videos = videos.filter(pc.is_in(videos["video_id"], value_set=ids))
    index = videos.schema.get_field_index("num_clips")
    num_clips = pa.array([counts[video_id] for video_id in videos["video_id"].to_pylist()], pa.int64())
    return {
        "clips": clips,
        "videos": videos.set_column(index, videos.schema.field(index), num_clips),
        "shots": shots.filter(pc.is_in(shots["video_id"], value_set=ids)),
        "failures": read_table(output_uri, "failures").slice(0, 0),
    }


def _write_tables(target: Store, name: str, data: pa.Table) -> list[OutputFile]:
    """Writes one table, partitioned and sorted as the job does."""
    sort_key = table_specs({})[name].sort_key
    data = data.sort_by([(column, "ascending") for column in sort_key]).combine_chunks()
    files = max(1, -(-data.num_rows // ROWS_PER_FILE))
    partitions = pa.array([partition_of(key, files) for key in data[sort_key[0]].to_pylist()], pa.int64())
    return [
        write_table(target, table_path(name, index, files), data.filter(pc.equal(partitions, index)))
        for index in range(files)
    ]
