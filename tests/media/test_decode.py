from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from core.failures import ItemError
from core.time import FrameSpan
from media import decode, source
from media.decode import VideoReader
from tests.support.hostile import HostileCase
from tests.support.measure import Stamp, read_all, span_of, stamp_of
from tests.support.rendering import make_shots_video, render_shot, write_video

NUM_FRAMES = {
    "bbb_0_30.webm": 720, "bear_vp9.webm": 82, "bikes.mp4": 250, "black_no_duration_vp9.webm": 74,
    "carphone_qcif.mp4": 120, "corrupt_h264_testcard.mp4": 49, "dark_concert_pcm.mov": 100,
    "deepv2d_golf.mov": 40, "desks_h263_vfr.3gp": 71, "flower.webm": 150, "googlework_short.mp4": 1026,
    "hdr10_av1_portrait.mp4": 127, "hevc_editlist_rot.mp4": 77, "highway_cctv.avi": 748,
    "his_girl_friday.mp4": 185, "intel_bottles.mp4": 1189, "laion_slides.mp4": 3678, "nasa_13013.mp4": 325,
    "phone_rotated_vfr.mp4": 23, "psd_testvideo.mp4": 720, "sam2_juggle.mp4": 247,
    "truncated_driving.mp4": 23, "udacity_solidWhiteRight.mp4": 221, "vipe_dog.mp4": 122,
}  # fmt: skip


def check_spans(path: str, stamps: list[Stamp], time_base: Fraction, count: int, longest: int) -> None:
    """Asserts that spans of a video give the same frames as decoding all of it."""
    rng = random.Random(len(stamps))
    total = len(stamps)
    spans = [(total - 1, total), (0, 1)]
    for _ in range(count):
        start = rng.randrange(total)
        spans.append((start, min(total, start + rng.randint(1, longest))))
    for start, end in spans:
        with VideoReader(path) as reader:
            found = [stamp_of(d) for d in reader.frames_in(span_of(stamps, start, end, time_base))]
        assert found == stamps[start:end], f"{path} [{start}, {end})"


@pytest.mark.parametrize("name", NUM_FRAMES)
def test_real_videos_give_all_frames_and_exact_spans(data: Path, name: str) -> None:
    path = str(data / name)
    stamps, time_base, _ = read_all(path)
    assert len(stamps) == NUM_FRAMES[name]
    assert [s[0] for s in stamps] == list(range(len(stamps)))
    for (_, pts, duration, _), (_, next_pts, _, _) in pairwise(stamps):
        assert pts + duration == next_pts
    assert stamps[-1][2] > 0
    check_spans(path, stamps, time_base, count=3, longest=20)


@pytest.mark.slow
def test_synthetic_videos_give_all_frames_and_exact_spans(hostile: dict[str, HostileCase]) -> None:
    for name, case in hostile.items():
        if case.expected != "ok" or name.startswith("name "):
            continue
        stamps, time_base, _ = read_all(case.path)
        assert stamps and len(stamps) == (case.num_frames or len(stamps)), name
        assert all(a[1] + a[2] == b[1] for a, b in pairwise(stamps)), name
        check_spans(case.path, stamps, time_base, count=4, longest=len(stamps) if len(stamps) < 100 else 30)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("open.mp4", {"options": {"x264-params": "open-gop=1:keyint=40:scenecut=0"}}),
        ("open.mkv", {"options": {"x264-params": "open-gop=1:keyint=40:scenecut=0"}}),
        ("intra_refresh.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=40"}}),
        ("open_hevc.mp4", {"codec": "libx265", "options": {
            "preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:keyint=40:bframes=4",
        }}),
        ("hidden_frames.mp4", {"codec": "libvpx-vp9", "options": {
            "cpu-used": "8", "deadline": "good", "g": "60", "auto-alt-ref": "6", "lag-in-frames": "25",
        }}),
        ("clip.ts", {"options": {"g": "40", "bf": "2"}}),
        ("clip_mpeg2.ts", {"codec": "mpeg2video", "options": {"bf": "2", "g": "30"}}),
        ("clip.mpg", {"codec": "mpeg2video", "options": {"bf": "2", "g": "30"}}),
        ("clip.flv", {"options": {"g": "40", "bf": "2"}}),
        ("clip.avi", {"codec": "mpeg4", "options": {"g": "40"}}),
    ],
)  # fmt: skip
def test_seeking_is_exact_for_any_keyframes(tmp_path: Path, name: str, how: dict) -> None:
    path = str(tmp_path / name)
    make_shots_video(path, [(4, k) for k in range(5)], (96, 64), **how)
    stamps, time_base, repairs = read_all(path)
    assert len(stamps) == 500
    for start in (0, 39, 40, 41, 199, 238, 399, 480):
        span = span_of(stamps, start, start + 15, time_base)
        with VideoReader(path, use_index=repairs == 0) as reader:
            assert [stamp_of(d) for d in reader.frames_in(span)] == stamps[start : start + 15], start


def test_decode_errors_are_counted_and_skipped(data: Path) -> None:
    with VideoReader(str(data / "corrupt_h264_testcard.mp4")) as reader:
        assert sum(1 for _ in reader.frames()) == 49
        assert reader.decode_errors == 1 and reader.damaged_frames == 1
        assert reader.first_error == "packet 31: Invalid data found when processing input"
    with VideoReader(str(data / "truncated_driving.mp4")) as reader:
        assert sum(1 for _ in reader.frames()) == 23
        assert reader.decode_errors == 1


def test_frames_without_pts_are_counted(data: Path) -> None:
    stamps, time_base, repairs = read_all(str(data / "highway_cctv.avi"))
    assert repairs > 0 and time_base == Fraction(1, 25)
    assert [s[1] for s in stamps] == list(range(3, 751))


def test_edit_lists_discard_frames(data: Path) -> None:
    stamps, time_base, _ = read_all(str(data / "hevc_editlist_rot.mp4"))
    assert (stamps[0][1], time_base) == (0, Fraction(1, 600)) and {s[2] for s in stamps} == {20, 21}


def test_pts_continue_after_a_discontinuity(hostile: dict[str, HostileCase]) -> None:
    stamps, time_base, repairs = read_all(hostile["clock_reset"].path)
    assert repairs == 30
    assert {s[2] for s in stamps} == {3600} and time_base == Fraction(1, 90000)
    for start in range(0, 60, 7):
        with VideoReader(hostile["clock_reset"].path) as reader:
            found = [stamp_of(d) for d in reader.frames_in(span_of(stamps, start, min(60, start + 10), time_base))]
        assert found == stamps[start : start + 10]


def test_duplicate_pts_are_separated(hostile: dict[str, HostileCase]) -> None:
    stamps, _, repairs = read_all(hostile["double_stamps"].path)
    assert repairs == 2 and stamps[11][1] == stamps[10][1] + 1


def test_a_late_span_of_a_long_video_is_found_by_seeking(hostile: dict[str, HostileCase]) -> None:
    base = Fraction(1, 16384)
    tick = 8192
    span = FrameSpan(start_frame=14000, end_frame=14010, start_pts=14000 * tick, end_pts=14010 * tick, time_base=base)
    with VideoReader(hostile["long"].path) as reader:
        frames = list(reader.frames_in(span))
        assert [f.index for f in frames] == list(range(14000, 14010))
        assert reader._packets < 60


def test_threads_do_not_change_the_result(data: Path, hostile: dict[str, HostileCase]) -> None:
    for path in (str(data / "bikes.mp4"), hostile["vp9"].path, hostile["mpeg4"].path):
        assert read_all(path, threads=3) == read_all(path)


def test_hardware_decoding_gives_the_same_frames_and_is_optional(
    data: Path, hostile: dict[str, HostileCase], caplog: pytest.LogCaptureFixture
) -> None:
    source._warn_once.cache_clear()
    paths = [str(data / name) for name in ("bikes.mp4", "hevc_editlist_rot.mp4", "hdr10_av1_portrait.mp4")]
    for path in (*paths, hostile["vp9"].path):
        assert read_all(path, hardware=True) == read_all(path)
    assert len(caplog.messages) <= 1  # one, where no GPU is


def test_decoding_falls_back_to_software_if_the_gpu_fails(
    hostile: dict[str, HostileCase], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = hostile["plain"].path
    expected = read_all(path)
    in_software = VideoReader._decode

    def decoded(reader: VideoReader) -> Iterator[VideoFrame]:
        for count, frame in enumerate(in_software(reader)):
            if reader._hardware and count == 11:
                raise decode._HardwareError("no more surfaces")
            yield frame

    monkeypatch.setattr(VideoReader, "_decode", decoded)
    assert read_all(path, hardware=True) == expected
    assert "no more surfaces" in caplog.text


def test_a_reader_can_be_reused(hostile: dict[str, HostileCase]) -> None:
    path = hostile["plain"].path
    stamps, time_base, _ = read_all(path)
    with VideoReader(path) as reader:
        for start in (30, 5, 44):
            span = span_of(stamps, start, start + 5, time_base)
            assert [stamp_of(d) for d in reader.frames_in(span)] == stamps[start : start + 5]
        assert [stamp_of(d) for d in reader.frames()] == stamps
        assert [stamp_of(d) for d in reader.frames()] == stamps


def test_an_old_iteration_ends_when_a_new_one_starts(hostile: dict[str, HostileCase]) -> None:
    with VideoReader(hostile["plain"].path) as reader:
        old = reader.frames()
        next(old)
        assert next(reader.frames()).index == 0
        with pytest.raises(RuntimeError, match="restarted"):
            list(old)
    closed = VideoReader(hostile["plain"].path)
    frames = closed.frames()
    next(frames)
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(frames)


def test_a_span_of_another_time_base_is_refused(hostile: dict[str, HostileCase]) -> None:
    span = FrameSpan(start_frame=0, end_frame=1, start_pts=0, end_pts=1, time_base=Fraction(1, 7))
    with VideoReader(hostile["plain"].path) as reader, pytest.raises(ValueError, match="time base"):
        list(reader.frames_in(span))


def test_resolution_may_change_mid_stream(hostile: dict[str, HostileCase]) -> None:
    with VideoReader(hostile["resolution_change"].path) as reader:
        sizes = [(d.frame.width, d.frame.height) for d in reader.frames()]
    assert sizes == [(160, 120)] * 20 + [(320, 180)] * 20


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Frames are freed after use: the decoder needs few buffers."""
    path = write_video(tmp_path / "clip.mp4", render_shot(1, 200, (160, 120)), options={"bf": "2"})
    with VideoReader(str(path)) as reader:
        places = {d.frame.planes[0].buffer_ptr for d in reader.frames()}
    assert len(places) < 40


def test_no_frame_is_an_error_with_the_first_cause(hostile: dict[str, HostileCase]) -> None:
    with VideoReader(hostile["garbage_packets"].path) as reader, pytest.raises(ItemError) as caught:
        list(reader.frames())
    assert caught.value.error_class == "NoFrames"
    assert "packet 1: Invalid data" in caught.value.cause
