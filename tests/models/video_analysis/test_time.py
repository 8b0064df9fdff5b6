"""Clips and tables of videos whose time is odd."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from core.annotations import VideoAnalysis
from core.references import Ref
from media.encode import CutSettings, cut_clip
from media.probe import probe_video
from models.video_analysis import AnalysisSettings, analyze_video
from tests.support.hostile import join_streams
from tests.support.paths import CASES, NO_CASES
from tests.support.rendering import render_shot, write_video

SIZE = (96, 64)
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)


def analyze(path: Path, **changes: object) -> VideoAnalysis:
    def write(name: str, data: bytes) -> Ref:
        return Ref(path=name, size_bytes=len(data), digest="", media_type="image/jpeg")

    return analyze_video(str(path), probe_video(str(path)), AnalysisSettings.model_validate(changes), write)


def check_clips(path: Path, analysis: VideoAnalysis, folder: Path, max_s: float = 15.0) -> None:
    assert analysis.clips
    for clip in analysis.clips:
        assert clip.span.duration_s <= max_s
        cut = cut_clip(
            str(path), clip.span, probe_video(str(path)), CutSettings(preset="ultrafast"), str(folder / "clip.mp4"),
            use_index=analysis.timestamp_repairs == 0,
        )  # fmt: skip
        assert (cut.num_frames, cut.duration_s) == (clip.span.num_frames, clip.span.duration_s)


@pytest.mark.parametrize("ahead_s", [-40.0, 5.0, 600.0])
def test_a_jump_ends_shot_and_clip(tmp_path: Path, ahead_s: float) -> None:
    write_video(tmp_path / "part.mp4", render_shot(4, 100, SIZE), options={"bf": "2"})
    path = join_streams(tmp_path / "j.ts", [(tmp_path / "part.mp4", 1000.0), (tmp_path / "part.mp4", 1004.0 + ahead_s)])
    analysis = analyze(path)
    assert (analysis.num_frames, analysis.duration_s, analysis.fps) == (200, 8.0, 25.0)
    assert [(s.start_frame, s.end_frame, s.boundary_kind) for s in analysis.shots] == [
        (0, 100, "start"),
        (100, 200, "gap"),
    ]
    assert [round(s.end_s - s.start_s, 6) for s in analysis.shots] == [4.0, 4.0]
    assert len(analysis.clips) == 2
    check_clips(path, analysis, tmp_path)


@pytest.mark.parametrize("mode", ["default", "reference"])
@pytest.mark.parametrize("name", ["held.mp4", "held.mkv"])
def test_a_clip_ends_inside_a_held_frame(tmp_path: Path, name: str, mode: str) -> None:
    pts = [k if k < 40 else k + 300 for k in range(100)]
    write_video(tmp_path / name, render_shot(2, 100, SIZE), pts=pts, time_base=Fraction(1, 10))
    analysis = analyze(tmp_path / name, shots={"mode": mode})
    check_clips(tmp_path / name, analysis, tmp_path)


@pytest.mark.parametrize("mode", ["default", "reference"])
@pytest.mark.parametrize("name", ["ntsc.mp4", "ntsc.mkv"])
@pytest.mark.parametrize("rate", [24000, 30000, 60000])
def test_clips_keep_the_frame_at_their_end(tmp_path: Path, rate: int, name: str, mode: str) -> None:
    fps = Fraction(rate, 1001)
    write_video(tmp_path / name, render_shot(2, round(10 * fps), SIZE), fps=fps)
    analysis = analyze(tmp_path / name, clips={"min_s": 1, "max_s": 2}, shots={"mode": mode})
    check_clips(tmp_path / name, analysis, tmp_path, 2.0)
    full = [clip.span for clip in analysis.clips[:-2]]
    assert [a.end_frame for a in full] == [b.start_frame for b in (clip.span for clip in analysis.clips[1:-1])]
    assert {span.num_frames for span in full} == {rate // 500}
    assert all(span.duration_s == 2 for span in full)


@needs_cases
def test_case_of_a_held_frame(tmp_path: Path) -> None:
    path = CASES / "held_frame" / "vfr_hold20.mp4"
    check_clips(path, analyze(path), tmp_path)


@needs_cases
def test_case_of_a_wrong_rate() -> None:
    analysis = analyze(CASES / "wrong_rate" / "sample.flv")
    assert (round(analysis.fps, 2), round(analysis.duration_s, 3)) == (29.97, 1.001)


@needs_cases
def test_cases_of_missing_parts() -> None:
    assert analyze(CASES / "truncated" / "trunc25.mkv").missing_share == pytest.approx(0.752, abs=0.01)
    holed = analyze(CASES / "damaged_middle" / "hole.mp4")
    assert holed.missing_share == pytest.approx(48 / 500) and holed.decode_errors == 31
