from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.digest import digest_bytes
from core.failures import ItemError
from core.time import FrameSpan
from media import mp4
from media.decode import VideoReader
from media.encode import CutResult, CutSettings, cut_clip
from media.images import sample_image
from media.probe import probe_video
from media.source import open_container
from tests.support.hostile import HostileCase
from tests.support.measure import gray, psnr_db, read_all, span_of
from tests.support.paths import EXAMPLES
from tests.support.rendering import render_shot, write_video

FAST = CutSettings(preset="ultrafast", crf=18)


def cut(path: str, start: int, end: int, output: Path, settings: CutSettings = FAST) -> tuple[CutResult, FrameSpan]:
    stamps, time_base, repairs = read_all(path)
    span = span_of(stamps, start, min(end, len(stamps)), time_base)
    result = cut_clip(path, span, probe_video(path), settings, str(output), use_index=repairs == 0)
    assert result.digest == digest_bytes(output.read_bytes())
    assert result.size_bytes == output.stat().st_size
    return result, span


def rgb_frames(path: str, span: FrameSpan | None = None, margin: int = 0) -> list[np.ndarray]:
    """Upright RGB frames, at most 320 wide, of a span, widened by `margin`."""
    info = probe_video(path)
    how = {"rotation_deg": info.rotation_deg, "is_mirrored": info.is_mirrored}
    with VideoReader(path) as reader:
        return [
            sample_image(d.frame, 320, 320, **how).astype(np.float32)
            for d in reader.frames()
            if span is None or span.start_frame - margin <= d.index < span.end_frame + margin
        ]


def check_times(output: Path, span: FrameSpan, stamps: list, result: CutResult) -> None:
    clip, time_base, repairs = read_all(str(output))
    source = stamps[span.start_frame : span.end_frame]
    assert repairs == 0 and result.num_frames == len(clip) == span.num_frames
    assert [c[1] * time_base for c in clip] == [(s[1] - span.start_pts) * span.time_base for s in source]
    info = probe_video(str(output))
    assert info.duration_s == result.duration_s == span.duration_s
    assert info.header_frames == span.num_frames and result.fps == span.fps
    assert abs(float(info.average_fps) / float(span.fps) - 1) < 1e-4
    assert (info.rotation_deg, info.is_mirrored, info.has_audio) == (0, False, False)


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("bikes.mp4", 101, 140),
        ("desks_h263_vfr.3gp", 20, 50),
        ("phone_rotated_vfr.mp4", 3, 23),
        ("hevc_editlist_rot.mp4", 60, 70),
        ("highway_cctv.avi", 300, 330),
        ("bear_vp9.webm", 11, 40),
        ("carphone_qcif.mp4", 17, 60),
        ("truncated_driving.mp4", 5, 15),
    ],
)
def test_clips_of_real_videos_are_exact(data: Path, tmp_path: Path, name: str, start: int, end: int) -> None:
    path, output = str(data / name), tmp_path / "clip.mp4"
    stamps, *_ = read_all(path)
    result, span = cut(path, start, end, output, CutSettings(preset="ultrafast", crf=18, tone_map="off"))
    check_times(output, span, stamps, result)
    clip, source = rgb_frames(str(output)), rgb_frames(path, span, margin=1)
    before = min(1, start)
    for k, frame in enumerate(clip):
        own = psnr_db(frame, source[k + before])
        assert own > 30, f"frame {k}: {own:.1f} dB"
        for other in (k + before - 1, k + before + 1):
            if 0 <= other < len(source) and psnr_db(source[k + before], source[other]) < 40:
                assert own > psnr_db(frame, source[other]) + 1, f"frame {k} looks like {other - before}"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.slow
def test_clips_of_synthetic_videos_are_exact(hostile: dict[str, HostileCase], tmp_path: Path, codec: str) -> None:
    settings = CutSettings(codec=codec, preset="superfast", crf=16, tone_map="off")
    for name, case in hostile.items():
        if case.expected != "ok" or name.startswith("name ") or name == "resolution_change":
            continue
        stamps, *_ = read_all(case.path)
        start = min(14000, len(stamps) // 3)
        output = tmp_path / f"{name}.mp4"
        result, span = cut(case.path, start, start + 30, output, settings)
        check_times(output, span, stamps, result)
        if name not in ("long", "interlaced"):
            for k, (a, b) in enumerate(zip(rgb_frames(str(output)), rgb_frames(case.path, span), strict=True)):
                a, b = a[:120], b[: a.shape[0], : a.shape[1]][:120]
                assert psnr_db(gray(a), gray(b)) > 28, f"{name} frame {k}"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.slow
def test_two_runs_give_the_same_bytes_without_names_and_dates(
    hostile: dict[str, HostileCase], tmp_path: Path, codec: str
) -> None:
    settings = CutSettings(codec=codec)
    for name in ("plain", "vfr_matroska", "rotated_90", "interlaced", "high444"):
        results = {cut(hostile[name].path, 3, 43, tmp_path / f"{k}.mp4", settings)[0].digest for k in range(3)}
        assert len(results) == 1, name
        data = (tmp_path / "0.mp4").read_bytes()
        assert not any(word in data for word in (b"x264", b"x265", b"Lavf", b"Lavc"))
        assert data.index(b"moov") < data.index(b"mdat")
        assert (b"hvc1" if codec == "hevc" else b"avc1") in data


@pytest.mark.parametrize("asm", ["0", "SSE2", "AVX2"])
def test_all_instruction_sets_encode_the_same_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asm: str) -> None:
    video = EXAMPLES / "carphone_pristine.mp4"
    cut(str(video), 0, 60, tmp_path / "own.mp4", CutSettings())
    make_options = mp4._encoder_options

    def limited(spec: mp4.Mp4Spec) -> dict[str, str]:
        options = make_options(spec)
        return options | {"x264-params": f"{options['x264-params']}:asm={asm}"}

    monkeypatch.setattr(mp4, "_encoder_options", limited)
    cut(str(video), 0, 60, tmp_path / "limited.mp4", CutSettings())
    assert (tmp_path / "own.mp4").read_bytes() == (tmp_path / "limited.mp4").read_bytes()


def test_keyframes_follow_the_settings_not_the_source(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    for interval, count in ((60, 1), (10, 4)):
        settings = CutSettings(preset="veryfast", keyframe_interval=interval)
        cut(hostile["plain"].path, 5, 45, tmp_path / "clip.mp4", settings)
        with open_container(str(tmp_path / "clip.mp4")) as container:
            assert sum(p.is_keyframe for p in container.demux(video=0)) == count


@pytest.mark.parametrize("name", ["rotated_90", "rotated_180", "rotated_270", "mirrored"])
def test_clips_are_upright(hostile: dict[str, HostileCase], tmp_path: Path, name: str) -> None:
    result, _ = cut(hostile[name].path, 0, 20, tmp_path / "clip.mp4")
    assert (result.width, result.height) == (160, 120)
    for made, shown in zip(render_shot(6, 20, (160, 120)), rgb_frames(str(tmp_path / "clip.mp4")), strict=True):
        assert psnr_db(gray(made), gray(shown)) > 30


def test_sizes_are_even_and_scaled_to_the_limit(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    odd, _ = cut(hostile["odd_size"].path, 0, 20, tmp_path / "odd.mp4")
    assert (odd.width, odd.height) == (160, 120)
    cropped = rgb_frames(hostile["odd_size"].path)[0][:120, :160]
    assert psnr_db(rgb_frames(str(tmp_path / "odd.mp4"))[0], cropped) > 30
    small = CutSettings(preset="ultrafast", max_short_side_px=65)
    assert (cut(hostile["plain"].path, 0, 9, tmp_path / "a.mp4", small)[0].width) == 86
    turned, _ = cut(hostile["portrait"].path, 0, 9, tmp_path / "b.mp4", small)
    assert (turned.width, turned.height) == (64, 86)
    large = CutSettings(preset="ultrafast", max_short_side_px=1000)
    assert (cut(hostile["plain"].path, 0, 9, tmp_path / "c.mp4", large)[0].height) == 120


def test_sample_aspect_ratio_and_color_tags_are_kept(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    cut(hostile["anamorphic"].path, 0, 20, tmp_path / "a.mp4")
    assert probe_video(str(tmp_path / "a.mp4")).sample_aspect_ratio == Fraction(12, 11)
    settings = CutSettings(codec="hevc", preset="ultrafast", pixel_format="source")
    result, _ = cut(hostile["hdr10"].path, 0, 20, tmp_path / "b.mp4", settings)
    info = probe_video(str(tmp_path / "b.mp4"))
    assert result.pixel_format == info.pixel_format == "yuv420p10le"
    assert (info.color_transfer, info.color_primaries, info.color_matrix) == ("smpte2084", "bt2020", "bt2020nc")
    cut(hostile["full_range"].path, 0, 20, tmp_path / "c.mp4")
    assert probe_video(str(tmp_path / "c.mp4")).color_range == "full"
    source = CutSettings(preset="ultrafast", pixel_format="source")
    assert cut(hostile["high444"].path, 0, 9, tmp_path / "d.mp4", source)[0].pixel_format == "yuv444p"
    assert cut(hostile["high444"].path, 0, 9, tmp_path / "e.mp4")[0].pixel_format == "yuv420p"


def test_rotation_inverts_the_sample_aspect_ratio(tmp_path: Path) -> None:
    def tags(stream: object) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)  # type: ignore[attr-defined]
        stream.set_display_rotation(-90)  # type: ignore[attr-defined]

    path = write_video(tmp_path / "source.mp4", render_shot(1, 10, (160, 120)), prepare=tags)
    cut(str(path), 0, 10, tmp_path / "clip.mp4")
    assert probe_video(str(tmp_path / "clip.mp4")).sample_aspect_ratio == Fraction(3, 4)


def test_interlaced_frames_are_deinterlaced(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    path = hostile["interlaced"].path
    on, _ = cut(path, 0, 30, tmp_path / "on.mp4")
    off, _ = cut(path, 0, 30, tmp_path / "off.mp4", CutSettings(deinterlace="off", preset="ultrafast", crf=18))
    assert on.is_deinterlaced and not off.is_deinterlaced and on.num_frames == off.num_frames == 30
    at_first_field = list(render_shot(31, 150, (160, 120)))[::5]
    clean, combed = (
        np.mean([psnr_db(gray(p), gray(t)) for p, t in zip(shown, at_first_field, strict=True)])
        for shown in (rgb_frames(str(tmp_path / "on.mp4")), rgb_frames(str(tmp_path / "off.mp4")))
    )
    assert clean > combed + 2
    assert not cut(hostile["plain"].path, 0, 9, tmp_path / "p.mp4")[0].is_deinterlaced


@pytest.mark.parametrize(
    ("name", "max_fps", "kept"),
    [
        ("plain", 12.5, [0, 2, 4, 6, 8, 10]),
        ("plain", 30, list(range(12))),
        ("plain", 25, list(range(12))),
        ("plain", 10, [0, 2, 5, 7, 10]),
        ("late_start", 25, list(range(12))),
    ],
)
def test_frames_are_dropped_on_a_time_grid(
    hostile: dict[str, HostileCase], tmp_path: Path, name: str, max_fps: float, kept: list[int]
) -> None:
    output = tmp_path / "clip.mp4"
    settings = CutSettings(preset="ultrafast", crf=18, max_fps=max_fps)
    result, span = cut(hostile[name].path, 4, 16, output, settings)
    clip, time_base, _ = read_all(str(output))
    assert [round(c[1] * time_base * 25) for c in clip] == kept
    assert result.duration_s == span.duration_s and result.num_frames == len(kept)
    source = rgb_frames(hostile[name].path, span)
    for k, frame in zip(kept, rgb_frames(str(output)), strict=True):
        assert psnr_db(frame, source[k]) > 30


def test_a_change_of_resolution_is_an_error_and_leaves_no_file(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    path, output = hostile["resolution_change"].path, tmp_path / "clip.mp4"
    with pytest.raises(ItemError) as caught:
        cut(path, 10, 30, output)
    assert caught.value.error_class == "ResolutionChange" and "frame 20" in caught.value.cause
    assert not output.exists()
    assert cut(path, 20, 40, output)[0].width == 320


def test_a_span_that_the_video_does_not_have_is_a_mismatch(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    path, output = hostile["plain"].path, tmp_path / "clip.mp4"
    info = probe_video(path)
    for start, end in ((45, 60), (60, 70)):
        span = FrameSpan(
            start_frame=start, end_frame=end, start_pts=512 * start, end_pts=512 * end, time_base=info.time_base
        )
        with pytest.raises(ItemError) as caught:
            cut_clip(path, span, info, FAST, str(output))
        assert caught.value.error_class == "CutMismatch" and not output.exists()


def test_an_output_that_cannot_be_written_is_an_error(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    with pytest.raises(ItemError) as caught:
        cut(hostile["plain"].path, 0, 5, tmp_path / "none" / "clip.mp4")
    assert caught.value.error_class == "EncodeFailed"


def test_hostile_output_names(hostile: dict[str, HostileCase], tmp_path: Path) -> None:
    for name in ("%03d.mp4", "pipe:1.mp4", "a b'[1].mp4"):
        cut(hostile["plain"].path, 0, 5, tmp_path / name)
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


@pytest.mark.parametrize("wrong", [{"codec": "av1"}, {"crf": 99}, {"max_fps": 0}, {"gop": 3}, {"preset": "warp"}])
def test_settings_refuse_what_they_do_not_know(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        CutSettings(**wrong)
    assert all(field.description for field in CutSettings.model_fields.values())
