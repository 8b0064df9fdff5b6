"""Clips selected by a query become a data set in the job's format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from beam_pipeline.cli.main import main
from explore.clips import ShardReader, find_clips
from explore.outputs import OutputError, read_accounting, read_table
from explore.query import materialize_query, write_query
from explore.subset import write_subset
from tests.support.runs import make_run

QUERY = "SELECT clip_id FROM clips WHERE pose_ok"


def materialize(output, folder, sql=QUERY, clips_per_shard=2):
    return materialize_query(output, sql, str(folder), clips_per_shard=clips_per_shard, on_progress=lambda _: None)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_the_totals_of_a_subset_balance(annotated, tmp_path):
    accounting = materialize(annotated.path, tmp_path / "sub")
    assert accounting.problems() == []
    assert (accounting.clips, accounting.clips_kept, accounting.videos, accounting.videos_failed) == (3, 3, 2, 0)
    manifest = json.loads((tmp_path / "sub" / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (tmp_path / "sub" / file["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["size_bytes"])
    source = hashlib.sha256((Path(annotated.path) / "manifest.json").read_bytes()).hexdigest()
    assert manifest["subset"] == {"query": QUERY, "source_manifest_sha256": source}
    assert {row["num_clips"] for row in read_table(str(tmp_path / "sub"), "videos").to_pylist()} == {2, 1}
    assert (tmp_path / "sub" / "report" / "index.html").exists()


def test_its_clips_are_the_same_but_for_their_place(annotated, tmp_path):
    materialize(annotated.path, tmp_path / "sub")
    old, new = ShardReader(annotated.path), ShardReader(str(tmp_path / "sub"))
    rows = find_clips(str(tmp_path / "sub"))
    assert [r["clip_id"] for r in rows] == sorted(annotated.films)
    for before, after in zip(old.read_all(find_clips(annotated.path, "pose_ok")), new.read_all(rows), strict=True):
        assert {k: v for k, v in before.files.items() if k != "json"} == {
            k: v for k, v in after.files.items() if k != "json"
        }
        sidecar = json.loads(after.files["json"])
        assert (sidecar["shard"], "sample_images" in sidecar) == (after.row["shard"], False)
        assert "of-00002" in after.row["shard"]
        assert sidecar == {
            **{k: v for k, v in json.loads(before.files["json"]).items() if k != "sample_images"},
            "shard": after.row["shard"],
        }
    shards = sorted(str(p) for p in (tmp_path / "sub" / "shards").iterdir())
    assert {s["__key__"] for s in wds.WebDataset(shards, shardshuffle=False, empty_check=False)} == set(annotated.films)


def test_equal_choices_give_equal_bytes_and_replace_what_was_there(annotated, tmp_path):
    materialize(annotated.path, tmp_path / "one")
    materialize(annotated.path, tmp_path / "two", clips_per_shard=1)
    materialize(annotated.path, tmp_path / "two", sql=f"{QUERY} ORDER BY clip_id DESC")
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["subset"]["query"].endswith("DESC")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == ["manifest.json"]


def test_what_cannot_be_a_subset_is_refused(annotated, tmp_path):
    for sql, message in (
        ("SELECT video_id FROM clips", "column clip_id"),
        ("SELECT clip_id FROM clips", "not kept and have no files, e.g. aaaa_00002"),
        ("SELECT 'nobody' AS clip_id", "no clip nobody"),
    ):
        with pytest.raises(OutputError, match=message):
            materialize(annotated.path, tmp_path / "sub", sql)
    assert not (tmp_path / "sub").exists()
    with pytest.raises(OutputError, match="into the data set itself"):
        materialize(annotated.path, annotated.path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="holds other files"):
        materialize(annotated.path, tmp_path / "other")
    run = make_run(tmp_path / "run")
    with pytest.raises(OutputError, match="no subset"):
        materialize(annotated.path, run)


def test_an_empty_subset_is_a_data_set(annotated, tmp_path):
    accounting = write_subset(annotated.path, [], str(tmp_path / "none"), how={})
    assert accounting.problems() == []
    assert read_accounting(str(tmp_path / "none")).clips == 0


def test_rows_are_written_to_files(annotated, tmp_path):
    sql = "SELECT clip_id, rejection_reasons, motion_score FROM clips ORDER BY clip_id"
    assert write_query(annotated.path, sql, str(tmp_path / "rows.csv")) == 5
    assert write_query(annotated.path, sql, str(tmp_path / "rows.parquet")) == 5
    flat, typed = pv.read_csv(tmp_path / "rows.csv"), pq.read_table(tmp_path / "rows.parquet")
    assert flat["clip_id"].to_pylist() == typed["clip_id"].to_pylist()
    assert [json.loads(x) for x in flat["rejection_reasons"].to_pylist()] == typed["rejection_reasons"].to_pylist()
    with pytest.raises(OutputError, match=r"must end in \.csv or \.parquet"):
        write_query(annotated.path, sql, str(tmp_path / "rows.xlsx"))
    with pytest.raises(OutputError, match="the query failed"):
        write_query(annotated.path, "SELECT nothing FROM clips", str(tmp_path / "rows.csv"))


def test_the_command(annotated, tmp_path, capsys):
    assert main(["query", annotated.path, QUERY, "--materialize", str(tmp_path / "sub")]) == 0
    assert "shards/clips-00000-of-00001.tar: 3 clips" in capsys.readouterr().out
    assert main(["query", annotated.path, "SELECT 1 AS one", "--to", str(tmp_path / "one.csv")]) == 0
    assert (tmp_path / "one.csv").read_text().split() == ['"one"', "1"]
    assert main(["query", annotated.path, "SELECT 1 AS one", "--to", str(tmp_path / "one.txt")]) == 2
