"""Videos with odd clocks, damage and false headers, by the user's command: the tables tell what is in them."""

from __future__ import annotations

import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from tests.support.paths import CASES, NO_CASES
from tests.support.rendering import render_shot, write_video

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)
PATHS = (
    "clock_jumps/joined_back100.ts",
    "clock_jumps/joined_back40.ts",
    "damaged_middle/hole.mp4",
    "held_frame/vfr_hold20.mp4",
    "wrong_rate/sample.flv",
    "truncated/trunc25.mkv",
    "absurd_headers/duration_1e12s.mkv",
    "absurd_headers/duration_6e9s.mkv",
)
KEEP_ALL = "--set=thresholds.limits={motion_score: null, luminance_score: null, decode_errors: {max: 0}}"
MAX_S = 15.0


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Rows of the videos by name, and of the clips by the name of their video."""
    folder = tmp_path_factory.mktemp("cases")
    inputs = folder / "in"
    inputs.mkdir()
    for path in PATHS:
        (inputs / path.split("/")[-1]).symlink_to(CASES / path)
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32, "encryption_kid": "a" * 32}
    write_video(inputs / "drm.mp4", render_shot(1, 50, (96, 64)), muxer=key)
    output = folder / "out"
    assert main(["--input", str(inputs), "--output", str(output), KEEP_ALL, "--no-progress"]) == 0
    assert read_accounting(str(output)).problems() == []
    videos = {row["source_uri"].split("/")[-1]: row for row in read_table(str(output), "videos").to_pylist()}
    clips = {name: [] for name in videos}
    for row in read_table(str(output), "clips").to_pylist():
        clips[row["source_uri"].split("/")[-1]].append(row)
    return videos, clips


def test_a_clock_that_jumps_back_keeps_count_and_duration(tables):
    videos, clips = tables
    for name in ("joined_back100.ts", "joined_back40.ts"):
        assert (videos[name]["num_frames"], videos[name]["duration_s"], videos[name]["fps"]) == (200, 8.0, 25.0)
        assert [clip["status"] for clip in clips[name]] == ["kept", "kept"]
        assert [round(clip["start_s"] - videos[name]["start_time_s"], 2) for clip in clips[name]] == [0.32, 4.32]


def test_damage_is_told_and_limits_see_it(tables):
    videos, clips = tables
    video = videos["hole.mp4"]
    assert video["missing_share"] == pytest.approx(48 / 500) and video["decode_errors"] == 31
    assert clips["hole.mp4"][-1]["end_s"] == pytest.approx(19.96 + 0.04 - 0.3, abs=0.04)
    assert all(clip["end_s"] < 11 or clip["start_s"] > 14 for clip in clips["hole.mp4"])
    assert all("damaged_frames" in clip and "decode_errors" in clip for clip in clips["hole.mp4"])
    assert videos["trunc25.mkv"]["missing_share"] == pytest.approx(0.752, abs=0.01)


def test_rates_and_durations_are_measured(tables):
    videos, _ = tables
    flv = videos["sample.flv"]
    assert (round(flv["fps"], 2), round(flv["duration_s"], 3), flv["header_fps"]) == (29.97, 1.001, 1000.0)
    for name in ("duration_1e12s.mkv", "duration_6e9s.mkv"):
        assert (videos[name]["status"], videos[name]["num_frames"], videos[name]["duration_s"]) == ("done", 10, 1.0)


def test_no_clip_is_longer_than_allowed_and_none_fails(tables):
    _, clips = tables
    rows = [clip for of_video in clips.values() for clip in of_video]
    assert rows and all(clip["duration_s"] <= MAX_S and clip["status"] != "failed" for clip in rows)
    assert clips["vfr_hold20.mp4"]


def test_an_encrypted_file_says_so(tables):
    videos, _ = tables
    assert videos["drm.mp4"]["failure_class"] == "Encrypted"
