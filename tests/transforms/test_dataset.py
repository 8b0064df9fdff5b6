from __future__ import annotations

import dataclasses
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
import pytest

from core.failures import Failure
from core.records import ClipRecord, ClipStatus, FailureRecord, VideoRecord
from explore.outputs import read_manifest
from storage.store import Store
from tests.support.clips import analyzed_video, cut_clip_record, listed_video
from tests.support.eager import eager
from transforms.dataset import DatasetSettings, WriteDataset
from transforms.run_context import RunContext

FAILURE = Failure(stage="ProbeVideo", error_class="NotAVideo", message="no video. Remedy: give one.")


class WriteRecords(beam.PTransform):
    """Splits records by type, as the graph has them, and writes the data set."""

    def __init__(self, output, store, **settings):
        super().__init__()
        self.write = WriteDataset(str(output), DatasetSettings(**settings), {}, RunContext(store.root_uri))

    def expand(self, records):
        kinds = VideoRecord, ClipRecord, FailureRecord
        return (
            tuple(
                records
                | kind.__name__
                >> beam.Filter(lambda record, kind=kind: isinstance(record, kind)).with_output_types(kind)
                for kind in kinds
            )
            | "Write" >> self.write
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    kept = cut_clip_record(store)
    broken = dataclasses.replace(listed_video(Path("/broken.mp4")), failure=FAILURE)
    return store, [
        analyzed_video(store),
        broken,
        kept,
        dataclasses.replace(kept, clip_id="rejected_00000", status=ClipStatus.REJECTED, rejection_reasons=("dark",)),
        FailureRecord(item="input", key="twice", uri="/twice.mp4", failure=FAILURE),
    ]


def rows_of(output, table):
    return [
        row for path in sorted(output.glob(f"{table}.parquet/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def files_of(output):
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_every_record_becomes_a_row_and_every_file_is_in_the_manifest(made, tmp_path):
    store, records = made
    records | eager(WriteRecords(tmp_path, store))
    kept = records[2].clip_id
    clips = {row["clip_id"]: row for row in rows_of(tmp_path, "clips")}
    assert {key: row["status"] for key, row in clips.items()} == {kept: "kept", "rejected_00000": "rejected"}
    assert clips[kept]["shard"] and clips["rejected_00000"]["shard"] is None
    assert sorted(row["status"] for row in rows_of(tmp_path, "videos")) == ["done", "failed"]
    assert sorted(row["item"] for row in rows_of(tmp_path, "failures")) == ["input", "video"]
    assert len(rows_of(tmp_path, "shots")) == 1
    listed = {file["path"] for file in read_manifest(Store(str(tmp_path)))}
    assert listed == set(files_of(tmp_path)) - {"manifest.json"}


def test_the_order_of_records_changes_no_bytes(made, tmp_path):
    store, records = made
    records | eager(WriteRecords(tmp_path / "one", store))
    records[::-1] | eager(WriteRecords(tmp_path / "two", store))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_rows_and_clips_spread_over_more_files_where_there_are_many(made, tmp_path):
    store, records = made
    kept = [dataclasses.replace(records[2], clip_id=f"clip_{i:05d}") for i in range(5)]
    [*records[:2], *kept] | eager(WriteRecords(tmp_path, store, clips_per_shard=2, rows_per_file=2))
    assert (
        len(list((tmp_path / "shards").glob("*.tar"))) == len(list((tmp_path / "clips.parquet").glob("*.parquet"))) == 3
    )
    assert len(rows_of(tmp_path, "clips")) == 5


def test_an_empty_run_still_has_its_tables(made, tmp_path):
    store, records = made
    records[1:2] | eager(WriteRecords(tmp_path, store))
    assert rows_of(tmp_path, "clips") == [] and len(list((tmp_path / "clips.parquet").glob("*.parquet"))) == 1
