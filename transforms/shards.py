"""WebDataset shards: kept clips as tar files with reproducible bytes."""

from __future__ import annotations

import json
import logging
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from core.digest import digest_value
from core.records import ClipRecord
from core.references import Ref
from core.serialization import from_json_text, to_json_text
from storage.local_files import work_folder
from storage.manifest import OutputFile, check_file, shard_path, write_shard
from storage.rows import clip_row, sample_document
from storage.shard_members import complete_members, pack_masks, without_missing
from storage.store import DamagedError, Store
from storage.tables import CONVENTIONS
from transforms.counters import DAMAGED

SHARD_FORMAT_VERSION = 3
logger = logging.getLogger(__name__)


def annotation_files(clip: ClipRecord) -> dict[str, Ref]:
    """The files of a clip's annotation that go into its shard, by suffix."""
    geometry, motion = clip.geometry, clip.camera_motion
    files: dict[str, Ref | None] = {}
    if geometry:
        files |= {
            "poses.npy": geometry.poses,
            "intrinsics.npy": geometry.intrinsics,
            "frames.npy": geometry.frames,
            "times.npy": geometry.times,
            "poses_dense.npy": geometry.dense_poses,
            "depth.npz": geometry.depth,
            "dyn_masks.npz": geometry.masks,
        }
    if motion:
        files["instructions.json"] = motion.instructions
    if clip.caption:
        files["caption.json"] = clip.caption.file
    return {suffix: ref for suffix, ref in files.items() if ref is not None}


class WriteShard(beam.DoFn):
    """Writes one tar of a shard's clips, sorted by id.

    It is kept if it is there already and, unless trusted, holds the bytes that were written.
    """

    def __init__(
        self, output_uri: str, store_uri: str, extra_types: Mapping[str, str], *, trust_output: bool = False
    ) -> None:
        self._trust_output = trust_output
        self._output_uri = output_uri
        self._extra_types = extra_types
        self._store_uri = store_uri

    def setup(self) -> None:
        self._output = Store(self._output_uri)
        self._store = Store(self._store_uri)

    def process(self, keyed: tuple[int, Iterable[ClipRecord | None]], shards: int) -> Iterator[OutputFile]:
        index, clips = keyed
        path = shard_path(index, shards)
        present = sorted((clip for clip in clips if clip is not None), key=lambda c: c.clip_id)
        members = [(clip, clip_row(replace(clip, shard=path))) for clip in present]
        digest = digest_value(
            {
                "version": SHARD_FORMAT_VERSION,
                "rows": [row for _, row in members],
                "annotations": [annotation_files(clip) for clip, _ in members],
                "extra_types": dict(self._extra_types),
                "conventions": CONVENTIONS,
            }
        )
        marker = f"WriteShard/{index:05d}-of-{shards:05d}/{digest}.json"
        try:
            known = self._find(marker)
        except DamagedError as error:
            logger.warning("%s %s: written anew", error.path, error.problem)
            Metrics.counter("WriteShard", DAMAGED).inc()
            known = None
        if known is not None:
            yield known
            return
        self._output.remove_left_over(posixpath.dirname(path))
        self._store.remove_left_over(posixpath.dirname(marker))
        written = write_shard(self._output, path, self._members(members), len(members))
        self._output.sync(posixpath.dirname(path))
        self._store.write_sealed(marker, to_json_text(written))
        yield written

    def _find(self, marker: str) -> OutputFile | None:
        """The shard that an earlier run wrote, or None.

        Raises:
          DamagedError: if the marker or the shard is not the one that was written.
        """
        stored = self._store.find_sealed(marker)
        if stored is None:
            return None
        known = from_json_text(OutputFile, stored)
        check_file(self._output, known, digest=not self._trust_output)
        return known

    def _members(self, clips: Iterable[tuple[ClipRecord, dict[str, Any]]]) -> Iterator[tuple[str, bytes | Path]]:
        for clip, row in clips:
            if clip.encoded is None:
                raise ValueError(f"clip {clip.clip_id} is kept but was not cut")
            yield f"{clip.clip_id}.json", sample_document(row, self._extra_types)
            files = {"mp4": clip.encoded.video, **annotation_files(clip)}
            for suffix, content in complete_members(files).items():
                name = f"{clip.clip_id}.{suffix}"
                if isinstance(content, bytes):
                    yield name, content
                    continue
                # Of a long clip they may be larger than memory.
                with self._store.local_copy(content) as local, work_folder("member", tempfile.gettempdir()) as folder:
                    if suffix == "dyn_masks.npz":
                        pack_masks(local, packed := Path(folder, suffix))
                        yield name, packed
                    elif suffix == "caption.json":
                        caption = without_missing(json.loads(Path(local).read_bytes()))
                        yield name, (json.dumps(caption, indent=2, ensure_ascii=False) + "\n").encode()
                    else:
                        yield name, Path(local)
