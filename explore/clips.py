"""Reads kept clips of a finished data set: rows by SQL, files from the shards."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np

from core.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from explore.outputs import OutputError, connect
from media.decode import VideoReader
from media.images import sample_image
from storage.shard_members import DepthMaps, is_empty_member, read_depth, read_masks, read_npy
from storage.store import Store
from storage.uris import normalize_uri

ClipRow = dict[str, Any]

MAX_MEMBER_BYTES = 1 << 30
_CACHED_INDICES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTrajectory:
    """Camera poses and intrinsics of a clip at its annotated frames.

    Attributes:
      frames: (n,) index of each in the clip.
      times_s: (n,) seconds since the clip's first frame.
      cam_from_world: (n, 7) tx ty tz qx qy qz qw, NaN where a frame has no pose.
      intrinsics_px: (n, 4) fx fy cx cy in pixels of the clip.
    """

    frames: Int64Array
    times_s: Float64Array
    cam_from_world: Float64Array
    intrinsics_px: Float64Array

    @property
    def has_pose(self) -> BoolArray:
        """(n,) whether a frame has a pose."""
        return np.asarray(np.isfinite(self.cam_from_world).all(axis=1))


class Clip:
    """One kept clip: its row and the files of its shard, decoded lazily.

    Attributes:
      row: its row of the clip table.
      files: content by suffix ("mp4", "poses.npy", ...); members that the clip lacks are left out.
    """

    def __init__(self, row: ClipRow, files: Mapping[str, bytes]) -> None:
        self.row = row
        self.files = {suffix: data for suffix, data in files.items() if not is_empty_member(suffix, data)}

    @property
    def clip_id(self) -> str:
        return str(self.row["clip_id"])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the clip's frames in pixels."""
        return self.row["clip_width"], self.row["clip_height"]

    @cached_property
    def trajectory(self) -> CameraTrajectory | None:
        """The camera trajectory; None where the clip was not annotated."""
        if "poses.npy" not in self.files:
            return None
        frames = read_npy(self.files["frames.npy"])[:, 1]
        if "times.npy" in self.files:
            times_s = read_npy(self.files["times.npy"])
        else:
            times_s = frames * (self.row["clip_duration_s"] / self.row["clip_num_frames"])
        return CameraTrajectory(
            frames=frames,
            times_s=times_s,
            cam_from_world=read_npy(self.files["poses.npy"]),
            intrinsics_px=read_npy(self.files["intrinsics.npy"]),
        )

    @cached_property
    def depth(self) -> DepthMaps | None:
        return read_depth(self.files["depth.npz"]) if "depth.npz" in self.files else None

    @cached_property
    def is_moving(self) -> BoolArray | None:
        """(n, h, w) dynamic masks at the annotated frames."""
        return read_masks(self.files["dyn_masks.npz"]) if "dyn_masks.npz" in self.files else None

    @cached_property
    def instructions(self) -> dict[str, list[str]]:
        """Motion labels by "<first>-><end>", ordinals of annotated frames."""
        return json.loads(self.files["instructions.json"]) if "instructions.json" in self.files else {}

    @cached_property
    def caption(self) -> dict[str, Any] | None:
        """Caption and tags under SpatialVID's published keys."""
        return json.loads(self.files["caption.json"]) if "caption.json" in self.files else None

    def images(self, indices: Iterable[int], max_side_px: int | None = None) -> Iterator[UInt8Array]:
        """Yields (h, w, 3) RGB frames with the given indices; decoding stops after the last.

        Args:
          indices: ascending frame indices.
          max_side_px: longest side; None for the clip's own size.

        Raises:
          OutputError: if the clip has no such frame.
          ItemError: if it cannot be decoded.
        """
        side = max_side_px or max(self.size)
        wanted = iter(indices)
        next_index = next(wanted, None)
        with tempfile.TemporaryDirectory(prefix="spatialbeam-clip-") as folder:
            path = os.path.join(folder, "clip.mp4")
            with open(path, "wb") as file:
                file.write(self.files["mp4"])
            with VideoReader(path) as reader:
                frames = reader.frames()
                while next_index is not None:
                    decoded = next((f for f in frames if f.index == next_index), None)
                    if decoded is None:
                        raise OutputError(f"clip {self.clip_id!r} has no frame {next_index}: its shard is damaged")
                    yield sample_image(decoded.frame, side, side)
                    next_index = next(wanted, None)


def find_clips(output_uri: str, where: str | None = None) -> list[ClipRow]:
    """Rows of the kept clips that meet an SQL condition, ordered by id.

    Raises:
      OutputError: if the folder is no finished run, or the condition is wrong.
    """
    condition = f"AND ({where})" if where else ""
    try:
        with connect(output_uri) as database:
            table = database.sql(f"SELECT * FROM clips WHERE status = 'kept' {condition} ORDER BY clip_id").arrow()
            return table.read_all().to_pylist()
    except duckdb.Error as error:
        raise OutputError(f"the condition {where!r} is wrong: {error}") from error


class ShardReader:
    """Random access to the files of clips in shards; caches the indices of shards.

    Raises:
      OutputError: if a shard is missing or does not hold a clip that its row names.
    """

    def __init__(self, output_uri: str) -> None:
        self._output = Store(normalize_uri(output_uri))
        self._indices: OrderedDict[str, dict[str, dict[str, tuple[int, int]]]] = OrderedDict()

    def read(self, row: ClipRow) -> Clip:
        """One clip by its row, with all its files."""
        shard, clip_id = row["shard"], row["clip_id"]
        if shard is None:
            raise OutputError(f"clip {clip_id!r} is {row['status']}, not kept: it has no files")
        members = self._index(shard).get(clip_id)
        if not members:
            raise OutputError(f"{shard!r} does not hold clip {clip_id!r}: the data set is damaged, run the job again")
        with self._output.fs.open(self._output.full_path(shard), "rb") as file:
            files = {}
            for suffix, (offset, size) in members.items():
                file.seek(offset)
                files[suffix] = bytes(file.read(size))
        return Clip(row, files)

    def read_all(self, rows: Iterable[ClipRow]) -> Iterator[Clip]:
        """Yields clips in the order of their rows."""
        return map(self.read, rows)

    def _index(self, shard: str) -> dict[str, dict[str, tuple[int, int]]]:
        """Offset and size of each file of a shard, by clip id and suffix."""
        if shard in self._indices:
            self._indices.move_to_end(shard)
            return self._indices[shard]
        index: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with self._output.fs.open(self._output.full_path(shard), "rb") as file, tarfile.open(fileobj=file) as tar:
                for member in tar:
                    clip_id, _, suffix = member.name.partition(".")
                    if not member.isfile() or "/" in member.name or member.size > MAX_MEMBER_BYTES:
                        raise OutputError(f"{shard!r} holds {member.name!r}, which is no file of a clip")
                    index.setdefault(clip_id, {})[suffix] = member.offset_data, member.size
        except FileNotFoundError as error:
            raise OutputError(f"shard {shard!r} is gone: run the job again") from error
        except tarfile.TarError as error:
            raise OutputError(f"shard {shard!r} cannot be read ({error}): run the job again") from error
        self._indices[shard] = index
        if len(self._indices) > _CACHED_INDICES:
            self._indices.popitem(last=False)
        return index
