"""One rule for untagged color, by our reader and by FFmpeg; tone mapping; deinterlacing by frame."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from core.arrays import UInt8Array
from media.color import HLG, PQ, resolve_matrix, tag_color
from media.decode import VideoReader
from media.encode import CutResult, CutSettings, copy_clip, cut_clip
from media.filters import FilterSpec, filter_frames
from media.images import sample_image
from media.probe import probe_video
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.frame_series import LuminanceFormula, mean_luminance
from tests.support.measure import read_all, span_of
from tests.support.paths import CASES, NO_CASES
from tests.support.rendering import render_shot, write_video

EXACT = "accurate_rnd+full_chroma_int+bitexact"
BT601_SIZES = [(640, 480), (720, 576), (1024, 576), (1278, 544), (576, 1024), (544, 1278), (480, 640)]
BT709_SIZES = [(1280, 544), (1280, 720), (1024, 578), (1920, 800), (544, 1280), (720, 1280), (578, 1024)]
SIZES = [(size, 6) for size in BT601_SIZES] + [(size, 1) for size in BT709_SIZES]
GREEN = (32, 192, 32)


def write_frames(path: Path, frames: list[VideoFrame], codec: str = "libx264", **how: Any) -> Path:
    """Encodes frames as they are; tags that they lack are not written."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=how.get("options", {}))
        context, first = stream.codec_context, frames[0]
        context.width, context.height, context.pix_fmt = first.width, first.height, first.format.name
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        if rotation_deg := how.get("rotation_deg"):
            stream.set_display_rotation(-rotation_deg)
        for k, frame in enumerate(frames):
            frame.pts, frame.time_base = k, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def cut(path: Path, output: Path, **settings: Any) -> CutResult:
    stamps, time_base, repairs = read_all(str(path))
    span = span_of(stamps, 0, len(stamps), time_base)
    how = CutSettings(**({"preset": "ultrafast", "crf": 4} | settings))
    return cut_clip(str(path), span, probe_video(str(path)), how, str(output), use_index=repairs == 0)


def read_rgb(path: Path) -> list[UInt8Array]:
    """All frames, upright, by the product's reader."""
    info = probe_video(str(path))
    with VideoReader(str(path)) as reader:
        return [
            sample_image(d.frame, 4096, 4096, rotation_deg=info.rotation_deg, is_mirrored=info.is_mirrored)
            for d in reader.frames()
        ]


def read_by_ffmpeg(path: Path, size: tuple[int, int]) -> UInt8Array:
    """(n, h, w, 3) frames by FFmpeg's own program."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-i", str(path), "-vf", f"scale=flags={EXACT},format=gbrp"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)


def write_untagged(path: Path, size: tuple[int, int], matrix: int, rotation_deg: int = 0) -> Path:
    """A flat green video of a matrix that no tag states."""
    rgb = np.full((size[1], size[0], 3), GREEN, np.uint8)
    frame = VideoReformatter().reformat(
        VideoFrame.from_ndarray(rgb, "rgb24"), format="yuv420p", dst_colorspace={1: 1, 6: 5}[matrix], threads=1
    )
    frame.colorspace, frame.color_range = 2, 0
    return write_frames(path, [frame] * 3, options={"crf": "1"}, rotation_deg=rotation_deg)


@pytest.mark.parametrize(("size", "matrix"), SIZES)
@pytest.mark.parametrize("rotation_deg", [0, 90])
def test_untagged_color_is_the_same_everywhere(
    size: tuple[int, int], matrix: int, rotation_deg: int, tmp_path: Path
) -> None:
    source = write_untagged(tmp_path / "source.mp4", size, matrix, rotation_deg)
    info = probe_video(str(source))
    assert info.color_matrix is None and info.rotation_deg == rotation_deg
    assert np.abs(read_rgb(source)[0].astype(int) - GREEN).mean() <= 1
    result = cut(source, tmp_path / "clip.mp4", max_short_side_px=96)
    clip = probe_video(str(tmp_path / "clip.mp4"))
    assert clip.color_matrix == clip.color_transfer == {1: "bt709", 6: "smpte170m"}[matrix]
    assert clip.color_range == "limited"
    for shown in (
        read_rgb(tmp_path / "clip.mp4"),
        read_by_ffmpeg(tmp_path / "clip.mp4", (result.width, result.height)),
    ):
        assert np.abs(np.stack(shown).astype(int) - GREEN).mean() <= 1
    check_luminance(source)


def check_luminance(path: Path) -> None:
    """The luminance of planes, as in `luminance_all_mean`, is that of images, as in `luminance_score`."""
    with VideoReader(str(path)) as reader:
        frame = next(reader.frames()).frame
    planes_mean = LuminanceFormula.of(probe_video(str(path)))(FrameMeter().push(frame)[0])
    assert abs(planes_mean - mean_luminance(sample_image(frame, 4096, 4096))) <= 1


@pytest.mark.parametrize("format_name", ["gray", "gray10le", "rgb24", "bgr0", "gbrp", "yuyv422", "yuvj420p"])
@pytest.mark.parametrize("size", [(320, 180), (1280, 544)])
@pytest.mark.parametrize("tag", [0, 1, 2])
def test_every_pixel_format_gives_one_luminance(
    format_name: str, size: tuple[int, int], tag: int, tmp_path: Path
) -> None:
    rgb = np.full((size[1], size[0], 3), GREEN, np.uint8)
    frame = VideoReformatter().reformat(VideoFrame.from_ndarray(rgb, "rgb24"), format=format_name, threads=1)
    frame.color_range = tag
    info = replace(
        probe_video(str(write_untagged(tmp_path / "any.mp4", size, 6))),
        pixel_format=format_name,
        color_range={0: None, 1: "limited", 2: "full"}[2 if format_name == "yuvj420p" else tag],
    )
    tag_color(frame)
    planes_mean = LuminanceFormula.of(info)(FrameMeter().push(frame)[0])
    assert abs(planes_mean - mean_luminance(sample_image(frame, 4096, 4096))) <= 1.5


@pytest.mark.parametrize("format_name", ["gray", "bgr0", "pal8"])
def test_clips_of_rgb_and_gray_keep_their_colors(format_name: str, tmp_path: Path) -> None:
    rgb = np.full((544, 1280, 3), GREEN, np.uint8)
    if format_name == "pal8":
        palette = np.tile(np.array([255, *GREEN], np.uint8), (256, 1))
        frame = VideoFrame.from_ndarray((np.zeros((544, 1280), np.uint8), palette), "pal8")
    else:
        frame = VideoReformatter().reformat(VideoFrame.from_ndarray(rgb, "rgb24"), format=format_name, threads=1)
    codec = "png" if format_name == "pal8" else "ffv1"
    source = write_frames(tmp_path / ("source.mov" if codec == "png" else "source.mkv"), [frame] * 3, codec=codec)
    check_luminance(source)
    result = cut(source, tmp_path / "clip.mp4", max_short_side_px=96)
    expected = read_rgb(source)[0][0, 0].astype(int)
    by_ffmpeg = read_by_ffmpeg(tmp_path / "clip.mp4", (result.width, result.height))
    for shown in (np.stack(read_rgb(tmp_path / "clip.mp4")), by_ffmpeg):
        assert np.abs(shown.astype(int) - expected).mean() <= 1


def test_tags_that_are_stated_are_kept() -> None:
    frame = VideoFrame(1280, 720, "yuv420p")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 6, 2, 5, 13
    tag_color(frame)
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (6, 2, 5, 13)


def test_bt2020_content_has_its_matrix_whatever_the_size() -> None:
    assert resolve_matrix(2, 640, 360, primaries=9) == resolve_matrix(2, 1920, 1080, transfer=PQ) == 9
    assert resolve_matrix(2, 640, 360, transfer=HLG) == 9 and resolve_matrix(1, 640, 360, primaries=9) == 1


def test_untagged_high_definition_is_not_copied_as_a_whole(tmp_path: Path) -> None:
    for size, matrix, is_copied in (((1280, 544), 1, False), ((640, 480), 6, True)):
        source = write_untagged(tmp_path / f"{size[0]}.mp4", size, matrix)
        stamps, time_base, _ = read_all(str(source))
        span, info = span_of(stamps, 0, len(stamps), time_base), probe_video(str(source))
        copy = copy_clip(str(source), span, info, CutSettings(whole_video="copy"), str(tmp_path / "copy.mp4"))
        assert (copy is not None) == is_copied


def write_hdr(path: Path, code: int, transfer: int) -> Path:
    """A flat gray 10-bit video of a luma code in PQ or HLG."""
    frame = VideoFrame(160, 96, "yuv420p10le")
    for plane, value in zip(frame.planes, (code, 512, 512), strict=True):
        plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, transfer
    return write_frames(path, [frame] * 3, options={"crf": "1"})


@pytest.mark.parametrize(
    ("transfer", "code", "nits"),
    [(PQ, 64, 0.0), (PQ, 327, 10.0), (PQ, 450, 50.0), (PQ, 723, 1000.0), (PQ, 940, 1000.0), (HLG, 940, 1000.0)],
)
def test_hdr_becomes_bt709_by_default(transfer: int, code: int, nits: float, tmp_path: Path) -> None:
    """Below the knee of the tone curve light is kept: white is 203 nits, coded with gamma 2.4."""
    cut(write_hdr(tmp_path / "hdr.mp4", code, transfer), tmp_path / "clip.mp4")
    clip = probe_video(str(tmp_path / "clip.mp4"))
    assert (clip.color_matrix, clip.color_transfer, clip.color_primaries) == ("bt709",) * 3
    assert (clip.pixel_format, clip.color_range, clip.is_hdr) == ("yuv420p", "limited", False)
    expected = 255 * min(nits / 203, 1.0) ** (1 / 2.4)
    assert np.abs(np.stack(read_rgb(tmp_path / "clip.mp4")).mean(axis=(0, 1, 2)) - expected).max() <= 3


@pytest.mark.parametrize(
    ("settings", "pixel_format", "transfer"),
    [
        ({"pixel_format": "yuv420p10"}, "yuv420p10le", "smpte2084"),
        ({"pixel_format": "source"}, "yuv420p10le", "smpte2084"),
        ({"tone_map": "off"}, "yuv420p", "smpte2084"),
        ({"tone_map": "bt709", "pixel_format": "yuv420p10"}, "yuv420p10le", "bt709"),
    ],
)
def test_hdr_is_kept_where_asked_for(
    settings: dict[str, str], pixel_format: str, transfer: str, tmp_path: Path
) -> None:
    source = write_hdr(tmp_path / "hdr.mp4", 509, PQ)
    cut(source, tmp_path / "clip.mp4", **settings)
    clip = probe_video(str(tmp_path / "clip.mp4"))
    assert (clip.pixel_format, clip.color_transfer) == (pixel_format, transfer)
    if transfer == "smpte2084":
        shown = np.stack(read_rgb(tmp_path / "clip.mp4")).astype(int)
        assert np.abs(shown - np.stack(read_rgb(source))).max() <= 1 and clip.color_primaries == "bt2020"


def test_8_bit_video_stays_8_bit_where_10_bits_are_kept(tmp_path: Path) -> None:
    source = write_untagged(tmp_path / "plain.mp4", (320, 180), 6)
    assert cut(source, tmp_path / "clip.mp4", pixel_format="yuv420p10").pixel_format == "yuv420p"


def write_hybrid(path: Path, pieces: list[bool]) -> Path:
    """Pieces of 12 frames in one H.264 stream, each progressive (False) or interlaced; all show the same motion."""
    images = list(render_shot(31, 72 * len(pieces), (160, 128)))
    data = b""
    for number, is_interlaced in enumerate(pieces):
        at = range(72 * number, 72 * number + 72, 6)
        woven = [images[k].copy() for k in at]
        for image, k in zip(woven, at, strict=True):
            if is_interlaced:  # bottom field first, as libx264 flags it
                image[::2] = images[k + 3][::2]
        options = {"crf": "4", "bf": "0"} | ({"flags": "+ilme+ildct"} if is_interlaced else {})
        piece = write_video(path.with_suffix(f".{number}.h264"), woven, options=options, format_name="h264")
        data += piece.read_bytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pieces", [[False, True], [True, False], [False, True, False]])
def test_interlaced_frames_are_found_one_by_one(pieces: list[bool], tmp_path: Path) -> None:
    source = write_hybrid(tmp_path / "hybrid.h264", pieces)
    assert cut(source, tmp_path / "on.mp4").is_deinterlaced
    assert not cut(source, tmp_path / "off.mp4", deinterlace="off").is_deinterlaced
    on, off = (np.stack(read_rgb(tmp_path / f"{name}.mp4")).astype(int) for name in ("on", "off"))
    clean = list(render_shot(31, 72 * len(pieces), (160, 128)))[::6]
    assert len(on) == len(off) == len(clean)
    for k, (a, b, truth) in enumerate(zip(on, off, clean, strict=True)):
        if pieces[k // 12]:
            assert np.abs(a - truth)[::2].mean() < 0.7 * np.abs(b - truth)[::2].mean(), k
        else:
            assert np.abs(a - b).mean() < 1, k


def filtered_planes(path: Path, deinterlace: bool) -> list[tuple[int, bytes]]:
    """PTS and samples of all frames as the encoder gets them."""
    with VideoReader(str(path)) as reader:
        frames = [d.frame for d in reader.frames()]
    width, height, name = frames[0].width, frames[0].height, frames[0].format.name
    size = {"width": width, "height": height, "scaled_width": width, "scaled_height": height}
    spec = FilterSpec(pixel_format=name, deinterlace=deinterlace, rotation_deg=0, is_mirrored=False, **size)
    return [(pts, frame.to_ndarray().tobytes()) for pts, frame in filter_frames(frames, spec, reader.time_base)]


def check_progressive_frames_are_kept(path: Path, is_interlaced: list[bool]) -> None:
    kept, deinterlaced = filtered_planes(path, False), filtered_planes(path, True)
    assert len(kept) == len(deinterlaced) == len(is_interlaced)
    assert [pts for pts, _ in kept] == [pts for pts, _ in deinterlaced]
    assert [a != b for a, b in zip(kept, deinterlaced, strict=True)] == is_interlaced


@pytest.mark.parametrize("pieces", [[False, True], [True, False], [False, True, False]])
def test_progressive_frames_of_a_hybrid_stream_stay_byte_equal(pieces: list[bool], tmp_path: Path) -> None:
    source = write_hybrid(tmp_path / "hybrid.h264", pieces)
    check_progressive_frames_are_kept(source, [flag for flag in pieces for _ in range(12)])


def test_progressive_frames_pass_the_deinterlacer_unchanged(tmp_path: Path) -> None:
    source = write_hybrid(tmp_path / "plain.h264", [False])
    assert cut(source, tmp_path / "a.mp4").digest == cut(source, tmp_path / "b.mp4", deinterlace="off").digest


@pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)
def test_shared_cases(tmp_path: Path) -> None:
    source = CASES / "untagged_colour" / "letterbox_untagged.mp4"
    cut(source, tmp_path / "clip.mp4", max_short_side_px=320)
    for shown in (read_rgb(tmp_path / "clip.mp4")[0], read_by_ffmpeg(tmp_path / "clip.mp4", (752, 320))[0]):
        assert np.abs(shown[:8, :8].astype(int) - (32, 193, 31)).mean() <= 1
    check_luminance(source)
    hybrid = CASES / "hybrid_interlaced" / "hybrid.ts"
    assert cut(hybrid, tmp_path / "hybrid.mp4").is_deinterlaced
    change = [
        np.abs(a.astype(int) - b).mean()
        for a, b in zip(read_rgb(hybrid), read_rgb(tmp_path / "hybrid.mp4"), strict=True)
    ]
    assert len(change) == 100 and max(change[:50]) < 1 < min(change[50:])
    check_progressive_frames_are_kept(hybrid, [False] * 50 + [True] * 50)
