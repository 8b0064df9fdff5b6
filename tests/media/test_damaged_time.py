"""Clocks that jump, holes in files, headers that lie: every frame keeps its time."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.failures import ItemError
from media.decode import DecodedFrame, VideoReader, planes
from media.probe import probe_video
from tests.support.hostile import join_streams, with_hole
from tests.support.paths import CASES, NO_CASES
from tests.support.rendering import make_shots_video, render_shot, write_video

SIZE = (96, 64)
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)


def read(path: Path) -> tuple[list[DecodedFrame], VideoReader]:
    with VideoReader(str(path)) as reader:
        return list(reader.frames()), reader


def luma(decoded: DecodedFrame) -> np.ndarray:
    return planes(decoded.frame).luma()[::2, ::2].astype(np.int16)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mov", "mjpeg")]
)
def test_a_hole_moves_no_frame(tmp_path: Path, name: str, codec: str) -> None:
    options = {"g": "25", **({"bf": "2"} if codec == "libx264" else {})}
    pixel_format = "yuvj422p" if codec == "mjpeg" else "yuv420p"
    make_shots_video(tmp_path / name, [(5, 1), (3, 2)], SIZE, codec=codec, pixel_format=pixel_format, options=options)
    whole = {d.pts: luma(d) for d in read(tmp_path / name)[0]}
    images = np.stack(list(whole.values()))
    times = list(whole)
    rng = np.random.default_rng(3)
    for share in (0.002, 0.01, 0.03, 0.05, 0.1) * 2:
        frames, reader = read(with_hole(tmp_path / name, tmp_path / f"hole_{name}", share, rng))
        assert frames[-1].pts == times[-1]
        assert all(a.pts < b.pts for a, b in pairwise(frames))
        assert reader.timestamp_repairs == 0 or name.endswith("avi")
        for decoded in frames:
            difference = np.abs(images - luma(decoded)).mean(axis=(1, 2))
            nearest = int(difference.argmin())
            if not decoded.is_damaged and difference[nearest] == 0 and decoded.pts in whole:
                assert np.abs(whole[decoded.pts] - luma(decoded)).mean() < 0.5, (share, decoded.pts, times[nearest])


@pytest.mark.parametrize("back_s", [0.3, 2.0, 40.0, 100.0, 7000.0])
def test_frames_follow_a_clock_that_jumps_back(tmp_path: Path, back_s: float) -> None:
    for number in range(2):
        write_video(tmp_path / f"{number}.mp4", render_shot(number, 50, SIZE), options={"bf": "2"})
    parts = [(tmp_path / "0.mp4", 8000.0), (tmp_path / "1.mp4", 8002.0 - back_s)]
    frames, _ = read(join_streams(tmp_path / "joined.ts", parts))
    assert len(frames) == 100 and {d.duration for d in frames} == {3600}
    assert [d.index for d in frames if d.follows_gap] == [50]


@pytest.mark.parametrize(("ahead_s", "is_gap"), [(0.12, False), (1.0, True), (40.0, True), (600.0, True)])
def test_a_gap_does_not_lengthen_the_frame_before_it(tmp_path: Path, ahead_s: float, is_gap: bool) -> None:
    for number in range(2):
        write_video(tmp_path / f"{number}.mp4", render_shot(number, 50, SIZE), options={"bf": "2"})
    parts = [(tmp_path / "0.mp4", 10.0), (tmp_path / "1.mp4", 12.0 + ahead_s)]
    frames, _ = read(join_streams(tmp_path / "joined.ts", parts))
    assert len(frames) == 100
    assert frames[50].follows_gap == is_gap
    assert frames[49].duration == (3600 if is_gap else 3600 + round(ahead_s * 90000))
    assert frames[50].pts - frames[49].pts == 3600 + round(ahead_s * 90000)


def test_a_held_frame_is_no_gap(tmp_path: Path) -> None:
    pts = [k if k < 10 else k + 200 for k in range(40)]
    write_video(
        tmp_path / "held.mp4", render_shot(1, 40, SIZE), pts=pts, time_base=Fraction(1, 10), options={"bf": "2"}
    )
    frames, _ = read(tmp_path / "held.mp4")
    assert not any(d.follows_gap for d in frames)
    assert frames[9].duration * Fraction(1, 10240) == Fraction(201, 10)


def test_encrypted_files_say_so(tmp_path: Path) -> None:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32, "encryption_kid": "a" * 32}
    write_video(tmp_path / "drm.mp4", render_shot(1, 10, SIZE), muxer=key)
    with pytest.raises(ItemError, match="is encrypted") as failure:
        probe_video(str(tmp_path / "drm.mp4"))
    assert failure.value.error_class == "Encrypted"


@needs_cases
@pytest.mark.parametrize("name", ["joined_back100.ts", "joined_back40.ts"])
def test_cases_of_clock_jumps(name: str) -> None:
    frames, _ = read(CASES / "clock_jumps" / name)
    assert len(frames) == 200 and {d.duration for d in frames} == {3600}


@needs_cases
def test_case_of_a_damaged_middle() -> None:
    frames, reader = read(CASES / "damaged_middle" / "hole.mp4")
    assert frames[-1].pts * reader.time_base == Fraction(1996, 100)


@needs_cases
@pytest.mark.parametrize("name", ["duration_1e12s.mkv", "duration_6e9s.mkv"])
def test_cases_of_absurd_headers(name: str) -> None:
    assert probe_video(str(CASES / "absurd_headers" / name)).duration_s is None
