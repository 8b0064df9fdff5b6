"""The writing step: shards, tables and the manifest, deterministic and atomic."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
from pydantic import Field

from core.records import ClipRecord, ClipStatus, FailureRecord, VideoRecord
from core.settings import Settings
from storage.manifest import OutputFile, partition_of, shard_path, table_path, write_manifest, write_table
from storage.rows import Row, clip_row, failure_row, shot_row, video_row
from storage.store import Store
from storage.tables import TableSpec, table_specs
from transforms.analyze import read_analysis
from transforms.run_context import RunContext
from transforms.shards import WriteShard

NO_ROW, ROWS_AT_A_TIME = b"", 300


class DatasetSettings(Settings):
    """File layout of the data set."""

    clips_per_shard: int = Field(
        500,
        ge=1,
        description="Kept clips in one tar, on average. Larger: fewer files; smaller: more workers.",
    )
    rows_per_file: int = Field(
        100_000,
        ge=1,
        description="Rows in one Parquet file, on average. Larger: fewer files; more memory, 5 to 15 KiB a row.",
    )


class _VideoRowsDoFn(beam.DoFn):
    """Rows of the tables `videos`, `shots` and `failures` from a finished video."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def setup(self) -> None:
        self._store = self._context.open_store()

    def process(self, video: VideoRecord) -> Iterator[tuple[str, Row]]:
        analysis = read_analysis(video, self._store)
        yield "videos", video_row(video, analysis)
        for index, shot in enumerate(analysis.shots if analysis else ()):
            yield "shots", shot_row(video, index, shot)
        if video.failure:
            failed = FailureRecord(item="video", key=video.video_id, uri=video.source_uri, failure=video.failure)
            yield "failures", failure_row(failed)


def _clip_rows(clip: ClipRecord, shards: int) -> Iterator[tuple[str, Row]]:
    if clip.status is ClipStatus.KEPT:
        clip = dataclasses.replace(clip, shard=shard_path(partition_of(clip.clip_id, shards), shards))
    yield "clips", clip_row(clip)
    if clip.failure:
        failed = FailureRecord(item="clip", key=clip.clip_id, uri=clip.source_uri, failure=clip.failure)
        yield "failures", failure_row(failed)


def _partitioned(
    keyed: tuple[str, Row | None],
    counts: Mapping[str, int],
    specs: Mapping[str, TableSpec],
    rows_per_file: int,
) -> tuple[tuple[str, int, int], bytes]:
    """Puts a row into its file: `((table, file index, files), values)`."""
    table, row = keyed
    files = max(1, -(-counts.get(table, 0) // rows_per_file))
    if row is None:
        return (table, 0, files), NO_ROW
    key = str(row[specs[table].sort_key[0]])
    # A third of the size of a dictionary: a file's rows are held at once by engines that do not spill.
    values = json.dumps([row.get(name) for name in specs[table].names], ensure_ascii=False, separators=(",", ":"))
    # File names and messages of decoders may hold lone surrogates, which Arrow refuses.
    return (table, partition_of(key, files), files), values.encode("utf-8", "replace")


class _WriteTableDoFn(beam.DoFn):
    """Writes one Parquet file of a table, rows in the table's order."""

    def __init__(self, output_uri: str, specs: Mapping[str, TableSpec]) -> None:
        self._output_uri = output_uri
        self._specs = specs

    def process(self, keyed: tuple[tuple[str, int, int], Iterable[bytes]]) -> Iterator[OutputFile]:
        (table, index, files), grouped = keyed
        spec = self._specs[table]
        schema = spec.schema()
        rows = (dict(zip(spec.names, json.loads(row), strict=True)) for row in grouped if row != NO_ROW)
        batches = []
        while part := list(itertools.islice(rows, ROWS_AT_A_TIME)):
            batches.append(pa.RecordBatch.from_pylist(part, schema=schema))
        data = pa.Table.from_batches(batches, schema).sort_by([(name, "ascending") for name in spec.sort_key])
        yield write_table(Store(self._output_uri), table_path(table, index, files), data.combine_chunks())


def _write_manifest(keyed: tuple[str, Iterable[OutputFile]], output_uri: str) -> str:
    """Writes the list of the run's files last of all."""
    return write_manifest(Store(output_uri), keyed[1])


@dataclasses.dataclass
class WriteDataset(beam.PTransform):
    """Writes shards, tables and the manifest.

    Takes a tuple of three collections: finished `VideoRecord`s, finished `ClipRecord`s, and
    `FailureRecord`s of inputs. The number of files follows from the number of items alone and items go
    to files by the hash of their id, so that every runner writes the same bytes.
    """

    output_uri: str
    settings: DatasetSettings
    extra_types: Mapping[str, str]
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(
        self, collections: tuple[beam.PCollection[Any], beam.PCollection[Any], beam.PCollection[Any]]
    ) -> beam.PCollection[Any]:
        videos, clips, failures = collections
        per_shard = self.settings.clips_per_shard
        kept = clips | "OnlyKept" >> beam.Filter(lambda clip: clip.status is ClipStatus.KEPT)
        shards = beam.pvalue.AsSingleton(
            kept
            | "CountKept" >> beam.combiners.Count.Globally()
            | "CountShards" >> beam.Map(lambda count: -(-count // per_shard))
        )
        member_type = tuple[int, ClipRecord | None]
        to_shard = beam.Map(lambda clip, n: (partition_of(clip.clip_id, n), clip), shards)
        members = kept | "ToShard" >> to_shard.with_output_types(member_type)
        each_shard = beam.FlatMap(lambda _, n: [(index, None) for index in range(n)], shards)
        all_shards = (
            kept.pipeline | "Shards" >> beam.Create([None]) | "EachShard" >> each_shard.with_output_types(member_type)
        )
        write = WriteShard(
            self.output_uri, self.context.store_uri, self.extra_types, trust_output=self.context.trust_output
        )
        shard_files = (
            (members, all_shards)
            | "ClipsAndShards" >> beam.Flatten()
            | "GroupShards" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(write, shards)
        )
        rows = (
            videos | "VideoRows" >> beam.ParDo(_VideoRowsDoFn(self.context)),
            clips | "ClipRows" >> beam.FlatMap(_clip_rows, shards),
            failures | "InputFailureRows" >> beam.Map(lambda f: ("failures", failure_row(f))),
        ) | "AllRows" >> beam.Flatten()
        table_files = self._write_tables(rows)
        return (
            (shard_files, table_files)
            | "AllFiles" >> beam.Flatten()
            | "OneKey" >> beam.Map(lambda file: ("", file)).with_output_types(tuple[str, OutputFile])
            | "GroupFiles" >> beam.GroupByKey()
            | "WriteManifest" >> beam.Map(_write_manifest, self.output_uri)
        )

    def _write_tables(self, rows: beam.PCollection[Any]) -> beam.PCollection[Any]:
        specs = table_specs(self.extra_types)
        counts = beam.pvalue.AsDict(
            rows | "TableNames" >> beam.Keys().with_output_types(str) | "CountRows" >> beam.combiners.Count.PerElement()
        )
        tables = rows.pipeline | "Tables" >> beam.Create([(name, None) for name in specs])
        row_type = tuple[tuple[str, int, int], bytes]
        return (
            (rows, tables)
            | "RowsAndTables" >> beam.Flatten()
            | "ToFile" >> beam.Map(_partitioned, counts, specs, self.settings.rows_per_file).with_output_types(row_type)
            | "GroupRows" >> beam.GroupByKey()
            | "WriteTables" >> beam.ParDo(_WriteTableDoFn(self.output_uri, specs))
        )
