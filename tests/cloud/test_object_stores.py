"""Whole runs whose input and output are object stores, and how many requests they make."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_table
from media.decode import VideoReader
from media.probe import probe_video
from media.source import REMOTE_BLOCK_BYTES, open_for_reading
from storage import listing
from storage.sources import SourceError, SourceSpec, list_videos, make_spec
from storage.store import Store
from tests.beam_pipeline.job.test_job import EXAMPLES, digests
from tests.support.rendering import render_shot, write_video

pytestmark = pytest.mark.cloud
NAMES = ("bikes.mp4", "carphone_pristine.mp4")
ARGUMENTS = ["--config", "demo", "--no-progress", "--direct_num_workers=1", "--set", "text.model=none"]


@pytest.fixture(scope="module", params=["gcs", "s3"])
def bucket(request):
    uri = request.getfixturevalue(request.param)
    fs, root = fsspec.url_to_fs(uri)
    for name in NAMES:
        fs.put_file(str(EXAMPLES / name), f"{root}/in/{name}")
    return uri


@pytest.fixture
def requests(bucket, monkeypatch):
    """Names and byte ranges of requests to the bucket; None for a whole object."""
    seen = []
    fs = type(fsspec.filesystem(bucket.split(":")[0]))
    name = "_call" if hasattr(fs, "_call") else "_call_s3"
    original = getattr(fs, name)

    async def note(self, method, *args, **options):
        ranged = options.get("Range") or (options.get("headers") or {}).get("Range")
        seen.append((method, ranged))
        return await original(self, method, *args, **options)

    monkeypatch.setattr(fs, name, note)
    return seen


def run(source, output, *arguments):
    return main(["--input", str(source), "--output", str(output), *ARGUMENTS, *arguments])


@pytest.fixture(scope="module")
def output(bucket):
    assert run(f"{bucket}/in", f"{bucket}/out") == 0
    return f"{bucket}/out"


def test_a_run_from_bucket_to_bucket_gives_the_bytes_of_a_local_one(bucket, output, tmp_path):
    assert run(f"{bucket}/in", tmp_path / "out") == 0
    assert digests(output) == digests(tmp_path / "out")
    accounting = json.loads(Store(output).read_bytes("run.json"))["accounting"]
    assert accounting["balanced"] and accounting["videos_done"] == 2 and accounting["clips_kept"] > 0
    assert Store(output).read_bytes("report/index.html").startswith(b"<!doctype html>")


def test_where_a_video_lies_changes_nothing_but_its_name(output, tmp_path):
    assert run(EXAMPLES / NAMES[0], tmp_path / "out") == 0
    local = {r["start_frame"]: r for r in read_table(str(tmp_path / "out"), "clips").to_pylist()}
    remote = [r for r in read_table(output, "clips").to_pylist() if r["source_uri"].endswith(NAMES[0])]
    assert len(remote) == len(local) > 0
    named = {"clip_id", "video_id", "source_uri", "shard", "video_path", "sample_images"}
    for row in remote:
        twin = local[row["start_frame"]]
        assert {k: v for k, v in row.items() if k not in named} == {k: twin[k] for k in row if k not in named}


def test_a_second_run_decodes_nothing(output, bucket, monkeypatch):
    before = digests(output)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("media.decode.VideoReader.__init__", refuse)
    assert run(f"{bucket}/in", output) == 0
    assert digests(output) == before


def test_worker_processes_reach_the_bucket(output, bucket):
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert run(f"{bucket}/in", f"{bucket}/two", *processes) == 0
    assert digests(f"{bucket}/two") == digests(output)


def test_readers_of_a_finished_run_take_buckets(output, bucket, capsys):
    assert main(["query", output, "SELECT count(*) AS n FROM clips WHERE status = 'kept'"]) == 0
    kept = sum(r["status"] == "kept" for r in read_table(output, "clips").to_pylist())
    assert capsys.readouterr().out.split() == ["n", str(kept)]
    limits = ("--set", "thresholds.limits.motion_score.min=13")
    assert main(["rethreshold", output, *limits, "--write", f"{bucket}/strict.parquet"]) == 0
    assert Store(bucket).size("strict.parquet") > 0
    assert main(["report", output]) == 0


def test_looking_for_a_stored_result_costs_little(output, requests):
    assert Store(output).find_bytes("manifest.json")
    assert len(requests) <= 2
    requests.clear()
    assert Store(output).find_bytes("no/such/object") is None
    assert len(requests) <= 2
    assert Store(output).size("no/such/object") is None


def test_probing_does_not_fetch_the_whole_video(bucket, requests, tmp_path):
    data = write_video(tmp_path / "index_last.mp4", render_shot(1, 20, (64, 36))).read_bytes()
    at, gap = data.rindex(b"moov") - 4, 60 << 20
    padded = data[:at] + gap.to_bytes(4, "big") + b"free" + bytes(gap - 8) + data[at:]
    fs, root = fsspec.url_to_fs(bucket)
    fs.pipe_file(f"{root}/big/index_last.mp4", padded)
    requests.clear()
    info = probe_video(f"{bucket}/big/index_last.mp4")
    assert info.size_bytes == len(padded)
    assert len(requests) <= 6  # facts, the first block, the last, and what was on its way behind them


def test_each_block_is_read_once(bucket, requests):
    fs, root = fsspec.url_to_fs(bucket)
    data = bytes(range(256)) * (2 * REMOTE_BLOCK_BYTES // 256)
    fs.pipe_file(f"{root}/blocks.bin", data)
    requests.clear()
    with open_for_reading(f"{bucket}/blocks.bin") as file:
        assert b"".join(iter(lambda: file.read(70_000), b"")) == data
        file.seek(5)
        assert file.read(3) == data[5:8]
    ranges = sorted(r for _, r in requests if r)
    assert ranges == [f"bytes=0-{REMOTE_BLOCK_BYTES - 1}", f"bytes={REMOTE_BLOCK_BYTES}-{2 * REMOTE_BLOCK_BYTES - 1}"]


def test_a_remote_video_decodes_like_a_local_one(bucket):
    def frames(uri):
        with VideoReader(uri) as reader:
            return [(d.pts, d.duration, bytes(d.frame.planes[0])) for d in reader.frames()]

    assert frames(f"{bucket}/in/{NAMES[1]}") == frames(str(EXAMPLES / NAMES[1]))


def test_missing_places_end_with_a_message(bucket, capsys, tmp_path):
    assert run(f"{bucket}/nothing", tmp_path / "out") == 2
    assert "does not exist" in capsys.readouterr().err
    assert run(EXAMPLES / NAMES[0], f"{bucket.replace('bucket', 'no-such-bucket')}/out") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not Path(tmp_path / "out").exists()


def test_more_objects_than_a_page_holds_are_listed(bucket, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_OBJECTS", 5)
    fs, root = fsspec.url_to_fs(bucket)
    names = [f"{root}/many/{number:02d}/x.{'mp4' if number % 2 else 'txt'}" for number in range(12)]
    fs.pipe(dict.fromkeys(names, b"x"))
    listed = [video.uri for video in list_videos(SourceSpec(uri=f"{bucket}/many"))]
    assert sorted(listed) == [fs.unstrip_protocol(name) for name in names[1::2]]
    for pattern, expected in {"many/0?/*.txt": names[:10:2], "many/*.txt": [], "ma*/**/x.*": names}.items():
        assert sorted(listing.stream_files(fs, f"{root}/{pattern}")) == expected, pattern
    assert make_spec(f"{bucket}/many/*5/x.mp4").uri.endswith("*5/x.mp4")
    with pytest.raises(SourceError, match="matches no file"):
        make_spec(f"{bucket}/many/*.mkv")
