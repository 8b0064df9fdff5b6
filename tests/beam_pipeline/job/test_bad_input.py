"""All kinds of broken and odd videos in one run: clips or one failure row."""

from __future__ import annotations

import json

import av
import pytest
import webdataset as wds

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_manifest, read_table
from storage.store import Store
from tests.support.hostile import make_hostile_videos, make_long_video

OPTIONS = [
    "--set=analysis.clips={min_s: 0.4, trim_start_s: 0, trim_end_s: 0}",
    "--set=text.model=none",
    "--no-progress",
    "--direct_num_workers=2",
]
LIMITS = "--set=thresholds.limits={{motion_score: {}, luminance_score: null, ocr_score: null, aesthetic_score: null}}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All hostile files but the long one in one run, with a missing path and a duplicate."""
    folder = tmp_path_factory.mktemp("hostile")
    cases = make_hostile_videos(folder / "videos")
    del cases["long"]
    rows = [{"uri": case.path, "id": f"case-{index:03d}"} for index, case in enumerate(cases.values())]
    rows += [{"uri": str(folder / "gone.mp4"), "id": "gone"}, rows[-1], {"uri": rows[-1]["uri"], "id": "gone"}]
    manifest = folder / "all.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / "out"
    assert main(["--input", str(manifest), "--output", str(output), LIMITS.format("null"), *OPTIONS]) == 0
    return {f"case-{index:03d}": case for index, case in enumerate(cases.values())}, output


def test_each_video_comes_out_as_expected(run):
    cases, output = run
    videos = {v["video_id"]: v for v in read_table(str(output), "videos").to_pylist()}
    assert set(videos) == {*cases, "gone"}
    wrong = {}
    for key, case in cases.items():
        video = videos[key]
        seen = "ok" if video["status"] == "done" else video["failure_class"]
        wrong_count = case.num_frames is not None and video["num_frames"] not in (None, case.num_frames)
        if seen != case.expected or wrong_count:
            wrong[case.note] = (seen, case.expected, video["num_frames"], case.num_frames, video["failure_message"])
    assert wrong == {}
    assert videos["gone"]["failure_class"] == "FileNotFound"


def test_no_failure_is_a_bug_and_each_says_why(run):
    _, output = run
    failures = read_table(str(output), "failures").to_pylist()
    assert [f for f in failures if f["is_bug"]] == []
    assert all(len(f["message"]) > 20 for f in failures)
    duplicates = sorted(f["error_class"] for f in failures if f["item"] == "input")
    assert duplicates == ["DuplicateId", "DuplicateInput"]


def test_the_books_balance(run):
    _, output = run
    accounting = read_accounting(str(output))
    assert accounting.problems() == []
    assert accounting.clips_failed == 0


def test_every_clip_holds_its_interval(run):
    _, output = run
    rows = {r["clip_id"]: r for r in read_table(str(output), "clips").to_pylist()}
    shards = [str(output / f["path"]) for f in read_manifest(Store(str(output))) if "shards/" in f["path"]]
    seen = set()
    for sample in wds.WebDataset(shards, shardshuffle=False):
        row = rows[sample["__key__"]]
        path = output / "probe.mp4"
        path.write_bytes(sample["mp4"])
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = [frame.pts * stream.time_base for frame in container.decode(stream)]
            assert len(times) == row["num_frames"], row["source_uri"]
            assert abs(float(times[0])) < 1e-9
            assert abs(float(stream.duration * stream.time_base) - row["duration_s"]) < 0.01, row["source_uri"]
            # Upright within one pixel of the source's shape.
            assert abs(stream.width - row["width"]) <= 1
            assert abs(stream.height - row["height"]) <= 1
        seen.add(row["clip_id"])
    assert seen == {key for key, row in rows.items() if row["status"] == "kept"}


def test_videos_with_clips_are_those_that_last(run):
    """A readable video of a second or more has at least one clip."""
    _, output = run
    for video in read_table(str(output), "videos").to_pylist():
        if video["status"] == "done" and video["duration_s"] >= 1 and video["num_frames"] >= 10:
            assert video["num_clips"] > 0, video["source_uri"]


def test_a_video_of_hours_runs_through(tmp_path):
    path = make_long_video(tmp_path / "long.mp4", hours=3)
    output = tmp_path / "out"
    # One of the six shots of each minute is kept: the others would only cost time.
    options = [LIMITS.format("{min: 1.65}"), "--set=cut.preset=ultrafast", *OPTIONS]
    assert main(["--input", str(path), "--output", str(output), *options]) == 0
    (video,) = read_table(str(output), "videos").to_pylist()
    assert video["duration_s"] == pytest.approx(3 * 3600, rel=0.01)
    clips = read_table(str(output), "clips").to_pylist()
    assert len(clips) == 1080
    assert sum(c["status"] == "kept" for c in clips) == 180
    assert max(c["end_s"] for c in clips) > 3 * 3600 - 11
