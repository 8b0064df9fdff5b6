from __future__ import annotations

import hashlib
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from storage.manifest import partition_of, shard_path, table_path, write_manifest, write_shard, write_table
from storage.store import Store


def test_a_shard_keeps_the_order_of_its_members_and_no_trace_of_the_machine(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"video")
    output = Store(str(tmp_path / "out"))
    written = write_shard(output, shard_path(0, 1), [("b.mp4", tmp_path / "b.mp4"), ("a.json", b"{}")], 1)
    with tarfile.open(tmp_path / "out" / written.path) as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == ["b.mp4", "a.json"]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
    data = (tmp_path / "out" / written.path).read_bytes()
    assert (written.size_bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_manifest_lists_files_by_path(tmp_path):
    output = Store(str(tmp_path))
    table = pa.table({"x": [1, 2]})
    files = [write_table(output, table_path("clips", i, 2), table) for i in (1, 0)]
    path = write_manifest(output, files, subset={"of": "other"})
    document = json.loads((tmp_path / path).read_text())
    assert [f["path"] for f in document["files"]] == [table_path("clips", i, 2) for i in (0, 1)]
    assert document["subset"] == {"of": "other"} and document["files"][0]["count"] == 2
    assert pq.read_table(tmp_path / files[0].path).equals(table)


@given(st.text(), st.integers(1, 1000))
def test_partitions_are_stable_and_in_range(key, count):
    assert 0 <= partition_of(key, count) < count
    assert partition_of(key, count) == partition_of(key, count)


def test_partitions_are_even():
    counts = [0] * 4
    for index in range(4000):
        counts[partition_of(f"clip_{index}", 4)] += 1
    assert max(counts) < 1.2 * min(counts)
