"""The whole job on real videos, read back by the clients that people use."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import duckdb
import pyarrow.dataset as ds
import pytest
import webdataset as wds

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_manifest, read_table
from storage.store import Store
from tests.support.paths import EXAMPLES, ROOT

# Every example clip is kept or rejected by motion alone, so that both kinds are seen.
ARGUMENTS = ["--config", "demo", "--no-progress", "--direct_num_workers=1"]


def run(output, *arguments, inputs=(EXAMPLES,)):
    named = [part for uri in inputs for part in ("--input", str(uri))]
    return main([*named, "--output", str(output), *ARGUMENTS, *arguments])


def digests(output):
    """Bytes of all that the manifest lists, and the manifest itself."""
    store = Store(str(output))
    files = {f["path"]: f["sha256"] for f in read_manifest(store)}
    for path, sha256 in files.items():
        assert hashlib.sha256(store.read_bytes(path)).hexdigest() == sha256
    return {**files, "manifest.json": hashlib.sha256(store.read_bytes("manifest.json")).hexdigest()}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    assert run(folder) == 0
    return folder


def test_the_books_balance_and_both_kinds_of_clips_are_there(output):
    accounting = read_accounting(str(output))
    assert accounting.problems() == []
    assert accounting.videos_done == 3
    assert accounting.clips_kept > 0
    assert accounting.clips_rejected > 0
    facts = json.loads((output / "run.json").read_text())
    assert facts["accounting"]["balanced"]
    assert 0 < facts["elements"]["largest_bytes"] < 10_000
    assert facts["config"]["analysis"]["clips"]["min_s"] == 1.0
    assert (output / "report" / "index.html").stat().st_size > 1000


def test_webdataset_reads_the_shards(output):
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    samples = list(wds.WebDataset(shards, shardshuffle=False))
    kept = {r["clip_id"] for r in read_table(str(output), "clips").to_pylist() if r["status"] == "kept"}
    assert {s["__key__"] for s in samples} == kept
    for sample in samples:
        row = json.loads(sample["json"])
        assert row["clip_id"] == sample["__key__"]
        assert "time" in row["conventions"]
        assert hashlib.sha256(sample["mp4"]).hexdigest().startswith(row["clip_sha256_128"])


def test_captions_are_in_shards_and_table(output):
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    for sample in wds.WebDataset(shards, shardshuffle=False):
        caption, row = json.loads(sample["caption.json"]), json.loads(sample["json"])
        assert caption["SceneSummary"] == row["scene_summary"]
        assert caption["CategoryTags"]["brightness"] == row["brightness"]
        assert (row["caption_model"], row.get("caption_reason"), row["weather"]) == ("embedded-v1", None, "Unknown")
    rejected = [r for r in read_table(str(output), "clips").to_pylist() if r["status"] == "rejected"]
    assert {r["scene_summary"] for r in rejected} == {None}


def test_the_cut_clips_are_what_their_rows_say(output):
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    for sample in wds.WebDataset(shards, shardshuffle=False):
        row = json.loads(sample["json"])
        path = output / "probe.mp4"
        path.write_bytes(sample["mp4"])
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            assert (stream.codec_context.name, len(container.streams)) == ("h264", 1)
            assert len(frames) == row["num_frames"] == row["clip_num_frames"]
            assert frames[0].pts == 0
        path.unlink()


@pytest.fixture
def clip(output, tmp_path):
    """One cut clip as a file, and its row."""
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    sample = next(iter(wds.WebDataset(shards, shardshuffle=False)))
    path = tmp_path / "clip.mp4"
    path.write_bytes(sample["mp4"])
    return path, json.loads(sample["json"])


def test_ffprobe_reads_a_clip(clip):
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("ffprobe is not installed; another test reads the clip with ffmpeg")
    path, row = clip
    asked = [ffprobe, "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    streams = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)["streams"]
    assert [s["codec_name"] for s in streams] == ["h264"]
    assert int(streams[0]["nb_read_frames"]) == row["num_frames"]
    assert (streams[0]["width"], streams[0]["height"]) == (row["clip_width"], row["clip_height"])


def test_ffmpeg_reads_a_clip(clip):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path, row = clip
    done = subprocess.run([ffmpeg, "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=True)
    assert f"frame={row['num_frames']:5d}" in done.stderr.replace("frame= ", "frame= ")


def test_pyarrow_and_duckdb_read_the_tables(output):
    table = ds.dataset(str(output / "clips.parquet")).to_table()
    assert "conventions" in {k.decode() for k in table.schema.metadata}
    query = (
        f"SELECT source_uri, count(*) FROM '{output}/clips.parquet/*.parquet' "
        "WHERE status = 'kept' AND motion_score > 5 GROUP BY 1"
    )
    found = dict(duckdb.sql(query).fetchall())
    expected = {}
    for row in table.to_pylist():
        if row["status"] == "kept" and row["motion_score"] > 5:
            expected[row["source_uri"]] = expected.get(row["source_uri"], 0) + 1
    assert found == expected
    assert found


def test_a_second_run_decodes_nothing_and_gives_equal_bytes(output, monkeypatch):
    before = digests(output)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("media.decode.VideoReader.__init__", refuse)
    assert run(output) == 0
    assert digests(output) == before


def test_workers_and_modes_give_equal_bytes(output, tmp_path):
    for name, options in {
        "windows": ["--direct_num_workers=2", "--direct_running_mode=multi_processing", "--set", "run.window_s=3"],
        "threads": ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
        "repeated": ["--direct_num_workers=1", "--direct_runner_bundle_repeat=1"],
    }.items():
        assert run(tmp_path / name, *options) == 0
        assert digests(tmp_path / name) == digests(output)


def test_windows_of_long_videos_give_equal_bytes(output, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="transforms.analyze"):
        assert run(tmp_path / "out", "--set", "run.window_s=3") == 0
    said = [r.getMessage() for r in caplog.records if r.name == "transforms.analyze"]
    assert sorted(line.partition(" was ")[2] for line in said) == ["analyzed in 2 windows", "analyzed in 3 windows"]
    assert digests(tmp_path / "out") == digests(output)
    assert not (tmp_path / "out" / "store" / "MeasureWindow").exists()


def test_one_more_video_is_the_only_one_processed(tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(out, inputs=[EXAMPLES / "bikes.mp4"]) == 0
    opened = []
    from media.decode import VideoReader

    original = VideoReader.__init__

    def note(self, uri, *args, **kwargs):
        opened.append(Path(uri).name)
        original(self, uri, *args, **kwargs)

    monkeypatch.setattr(VideoReader, "__init__", note)
    assert run(out, inputs=[EXAMPLES / "bikes.mp4", EXAMPLES / "carphone_pristine.mp4"]) == 0
    assert set(opened) == {"carphone_pristine.mp4"}
    assert read_accounting(str(out)).videos_done == 2


def test_a_killed_run_goes_on_to_the_same_bytes(output, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "launcher.py", "--input", str(EXAMPLES), "--output", str(out), *ARGUMENTS]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(out.glob("store/AnalyzeVideo/*/*/*.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    assert run(out) == 0
    assert digests(out) == digests(output)
    leftovers = [p for p in out.rglob(".tmp-*") if not str(p).startswith(str(out / "store"))]
    assert leftovers == []


def test_fewer_inputs_leave_no_stale_files(tmp_path):
    out = tmp_path / "out"
    many = ("--set", "dataset.clips_per_shard=1")
    assert run(out, *many) == 0
    assert run(out, *many, inputs=[EXAMPLES / "carphone_pristine.mp4"]) == 0
    listed = {f["path"] for f in read_manifest(Store(str(out)))}
    on_disk = {str(p.relative_to(out)) for p in out.rglob("*") if p.suffix in (".tar", ".parquet") and p.is_file()}
    assert on_disk == listed


def test_manifest_columns_reach_the_tables(tmp_path):
    manifest = tmp_path / "videos.csv"
    manifest.write_text(f"uri,id,license\n{EXAMPLES}/bikes.mp4,my-bikes,BSD\nmissing.mp4,gone,none\n")
    out = tmp_path / "out"
    assert run(out, inputs=[manifest]) == 0
    videos = {v["video_id"]: v for v in read_table(str(out), "videos").to_pylist()}
    assert videos["my-bikes"]["license"] == "BSD"
    assert videos["gone"]["failure_class"] == "FileNotFound"
    assert {c["license"] for c in read_table(str(out), "clips").to_pylist()} == {"BSD"}
    assert os.path.exists(out / "run.json")


@pytest.mark.parametrize(
    "arguments", [["--input", "/no/such/place"], ["--set", "cut.crf=nine"], ["--config", "no-such-profile"]]
)
def test_mistakes_on_the_command_line_end_with_a_message(arguments, capsys, tmp_path):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()
