"""Makes real files that break video tools: bad inputs and odd good ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.stream import Disposition

from tests.support.rendering import X265_QUIET, Image, make_shots_video, render_shot, write_tone, write_video

__all__ = ["HostileCase", "make_hostile_videos", "make_long_video", "make_shots_video"]

SIZE = (160, 120)
WEIRD_NAMES = (
    "with space.mp4",
    'quo\'te "double".mp4',
    "100% [abc] #1.mp4",
    "concat:a:b.mp4",
    "http:x,y;z&a=b.mp4",
    "%03d.mp4",
    "*?.mp4",
    "été 日本 🎬.mp4",
    "-i leading dash.mp4",
    "~tilde$HOME`x`.mp4",
    "dots...many.dots.mp4",
)
_MP4_10 = Fraction(1, 12800)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileCase:
    """One file.

    Attributes:
      path: where it is.
      expected: "ok", or the error class that opening, probing or decoding it must end in.
      num_frames: how many frames must come out; None where it depends on the decoder.
      note: what is odd about it.
    """

    path: str
    expected: str
    num_frames: int | None
    note: str


def make_hostile_videos(folder: str | Path) -> dict[str, HostileCase]:
    """Writes all cases into a folder and returns them by name. Takes some seconds."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cases: dict[str, HostileCase] = {}

    def add(name: str, path: Path, expected: str, num_frames: int | None, note: str) -> None:
        cases[name] = HostileCase(path=str(path), expected=expected, num_frames=num_frames, note=note)

    plain = write_video(folder / "plain.mp4", render_shot(1, 50, SIZE), options={"bf": "2", "g": "12"})
    add("plain", plain, "ok", 50, "H.264 with B-frames and a key frame every 12")
    _add_broken(folder, plain, add)
    _add_streams(folder, add)
    _add_names(folder, plain, add)
    _add_codecs(folder, add)
    _add_geometry(folder, add)
    _add_clocks(folder, add)
    return cases


_Add = Callable[[str, Path, str, int | None, str], None]


def _add_broken(folder: Path, plain: Path, add: _Add) -> None:
    data = plain.read_bytes()
    contents = {
        "not_a_video": (b"This is a note, not a video.\n" * 20, "NotAVideo", "text named .mp4"),
        "lfs_pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
            "NotAVideo",
            "Git LFS pointer",
        ),
        "playlist": (f"#EXTM3U\n#EXTINF:2,\n{plain}\n#EXT-X-ENDLIST\n".encode(), "NotAVideo", "HLS playlist"),
        "concat_list": (
            f"ffconcat version 1.0\nfile {plain}\n".encode(),
            "NotAVideo",
            "FFmpeg concat script",
        ),
        "zeros": (bytes(50_000), "NotAVideo", "nothing but zero bytes"),
        "image": (_png(), "NotAVideo", "PNG named .mp4"),
        "empty": (b"", "EmptyFile", "0 bytes"),
        "moov_missing": (data[: len(data) * 6 // 10], "MissingIndex", "cut before the index at the end"),
    }
    for name, (content, expected, note) in contents.items():
        path = folder / f"{name}.mp4"
        path.write_bytes(content)
        add(name, path, expected, None, note)
    whole = write_video(
        folder / "faststart.mp4",
        render_shot(2, 50, SIZE),
        muxer={"movflags": "faststart"},
        options={"g": "10"},
    )
    cut = folder / "cut_in_the_middle.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    add("cut_in_the_middle", cut, "ok", None, "index whole, half of the 50 frames missing")
    add("faststart", whole, "ok", 50, "index at the front")
    mkv = write_video(folder / "whole.mkv", render_shot(3, 50, SIZE), options={"g": "10"})
    cut = folder / "cut_matroska.mkv"
    cut.write_bytes(mkv.read_bytes()[: mkv.stat().st_size // 2])
    add("cut_matroska", cut, "ok", None, "Matroska without its second half and its index")
    short = folder / "header_only.mkv"
    short.write_bytes(mkv.read_bytes()[:200])
    add("header_only", short, "BrokenHeader", None, "first 200 bytes of a Matroska file")
    damaged = folder / "damaged.mp4"
    damaged.write_bytes(_damage(data))
    add("damaged", damaged, "ok", None, "some bytes of the coded frames overwritten")
    noise = folder / "garbage_packets.mp4"
    noise.write_bytes(_damage(data, everything=True))
    add("garbage_packets", noise, "NoFrames", None, "index whole, all coded bytes overwritten")
    locked = folder / "unreadable.mp4"
    shutil.copy(plain, locked)
    locked.chmod(0)
    is_root = os.geteuid() == 0
    note = "mode 000" + (", which does not bind root" if is_root else "")
    add("unreadable", locked, "ok" if is_root else "PermissionDenied", 50 if is_root else None, note)
    add("absent", folder / "absent.mp4", "FileNotFound", None, "no such file")
    (folder / "folder.mp4").mkdir(exist_ok=True)
    add("folder", folder / "folder.mp4", "NotAVideo", None, "a folder named .mp4")


def _add_streams(folder: Path, add: _Add) -> None:
    audio = folder / "audio_only.m4a"
    with av.open(str(audio), "w", format="mp4") as output:
        write_tone(output, output.add_stream("aac", rate=16000), 1.0)
    add("audio_only", audio, "NoVideoStream", None, "AAC sound")
    cover = folder / "cover_art_only.m4a"
    with av.open(str(cover), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=16000)
        art = output.add_mux_stream("png", rate=1, width=32, height=32)
        art.disposition = Disposition.attached_pic
        packet = av.Packet(_png())
        packet.stream, packet.pts, packet.dts, packet.time_base = art, 0, 0, Fraction(1, 1)
        output.mux(packet)
        write_tone(output, sound, 1.0)
    add("cover_art_only", cover, "CoverArtOnly", None, "sound with a cover image")
    for name, expected, note, muxer in (
        ("no_packets", "NoFrames", "a video stream of zero duration", {"movflags": "empty_moov"}),
        ("no_track", "NoVideoStream", "MP4 whose muxer dropped its empty video track", {}),
    ):
        with av.open(str(folder / f"{name}.mp4"), "w", options=muxer) as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height = SIZE
            output.start_encoding()
        add(name, folder / f"{name}.mp4", expected, None, note)
    unknown = folder / "unknown_codec.mp4"
    with av.open(str(unknown), "w") as output:
        stream = output.add_mux_stream("evc", rate=25, width=64, height=64)
        for k in range(5):
            packet = av.Packet(bytes(range(64)))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, k, k, Fraction(1, 25)
            packet.is_keyframe = True
            output.mux(packet)
    add("unknown_codec", unknown, "UnsupportedCodec", None, "EVC, for which FFmpeg has no decoder")
    path = write_video(folder / "with_audio.mov", render_shot(4, 30, SIZE), with_audio=True)
    add("with_audio", path, "ok", 30, "H.264 with sound in QuickTime")
    path = write_video(folder / "one_frame.mp4", render_shot(5, 1, SIZE))
    add("one_frame", path, "ok", 1, "a single frame")


def _add_names(folder: Path, plain: Path, add: _Add) -> None:
    names = folder / "names"
    for place in (names, folder / "a", folder / "b"):
        place.mkdir(exist_ok=True)
    for name in WEIRD_NAMES:
        shutil.copy(plain, names / name)
        add(f"name {name}", names / name, "ok", 50, "hostile file name")
    for k, place in enumerate("ab"):
        path = write_video(folder / place / "same_name.mp4", render_shot(20 + k, 20 + 5 * k, SIZE))
        add(f"same_name_{place}", path, "ok", 20 + 5 * k, "another file has the same name")


def _add_codecs(folder: Path, add: _Add) -> None:
    def hdr(stream: Any) -> None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1

    def full_range(stream: Any) -> None:
        stream.codec_context.color_range = 2

    def make(name: str, note: str, num_frames: int = 30, **how: Any) -> None:
        path = write_video(folder / name, render_shot(len(name), num_frames, SIZE), **how)
        add(name.split(".")[0], path, "ok", num_frames, note)

    make("hevc.mp4", "HEVC, open GOP", codec="libx265", options=X265_QUIET | {"preset": "ultrafast", "g": "10"})
    make(
        "hdr10.mp4", "HEVC Main 10 with PQ tags", codec="libx265", pixel_format="yuv420p10le",
        options=X265_QUIET | {"preset": "ultrafast"}, prepare=hdr,
    )  # fmt: skip
    make("av1.mp4", "AV1", codec="libsvtav1", options={"preset": "12", "crf": "40"})
    make("vp9.webm", "VP9", codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime", "crf": "35"})
    make("high444.mp4", "H.264 4:4:4", pixel_format="yuv444p")
    make("full_range.mp4", "full-range H.264", pixel_format="yuvj420p", prepare=full_range)
    make("mjpeg.avi", "Motion JPEG in AVI", codec="mjpeg", pixel_format="yuvj422p")
    make("mpeg4.avi", "MPEG-4 with B-frames in AVI: no timestamps", codec="mpeg4", options={"bf": "2"})
    make("rgb.mkv", "lossless RGB", num_frames=8, codec="ffv1", pixel_format="bgr0")
    make("palette.gif", "animated GIF", num_frames=8, codec="gif", pixel_format="rgb8", fps=Fraction(10))
    make("mpeg2.ts", "MPEG-2 in a transport stream", codec="mpeg2video", options={"bf": "2", "g": "10"})
    make(
        "open_gop.ts",
        "H.264, open GOP, in a transport stream",
        options={"x264-params": "open-gop=1:keyint=10"},
    )
    make("annexb.h264", "raw H.264: no container", options={"bf": "2", "g": "10"})
    make(
        "fragmented.mp4",
        "fragmented MP4",
        muxer={"movflags": "frag_keyframe+empty_moov"},
        options={"g": "10"},
    )
    woven = _weave(render_shot(31, 150, SIZE))
    path = write_video(folder / "interlaced.mp4", woven, options={"flags": "+ilme+ildct"})
    add("interlaced", path, "ok", 30, "interlaced H.264, bottom field first")


def _add_geometry(folder: Path, add: _Add) -> None:
    def anamorphic(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(12, 11)

    for turn_deg in (90, 180, 270):
        path = write_video(
            folder / f"rotated_{turn_deg}.mp4",
            (np.ascontiguousarray(np.rot90(i, turn_deg // 90)) for i in render_shot(6, 20, SIZE)),
            prepare=lambda stream, t=turn_deg: stream.set_display_rotation(-t),
        )
        add(f"rotated_{turn_deg}", path, "ok", 20, f"to be turned by {turn_deg} degrees clockwise")
    path = write_video(
        folder / "mirrored.mp4",
        (np.ascontiguousarray(i[:, ::-1]) for i in render_shot(6, 20, SIZE)),
        prepare=lambda stream: stream.set_display_rotation(0, hflip=True),
    )
    add("mirrored", path, "ok", 20, "display matrix that mirrors")
    path = write_video(folder / "portrait.mp4", render_shot(7, 20, (120, 160)))
    add("portrait", path, "ok", 20, "taller than wide")
    path = write_video(folder / "anamorphic.mp4", render_shot(8, 20, SIZE), prepare=anamorphic)
    add("anamorphic", path, "ok", 20, "pixels of 12:11")
    path = write_video(folder / "odd_size.mp4", render_shot(9, 20, (161, 121)), pixel_format="yuv444p")
    add("odd_size", path, "ok", 20, "161 x 121")
    small = write_video(folder / "part1.ts", render_shot(10, 20, SIZE))
    large = write_video(folder / "part2.ts", render_shot(11, 20, (320, 180)))
    path = folder / "resolution_change.ts"
    _remux([small, large], path)
    add("resolution_change", path, "ok", 40, "160x120, then from frame 20 on 320x180")


def _add_clocks(folder: Path, add: _Add) -> None:
    rng = np.random.default_rng(0)
    irregular = np.concatenate([[0], np.cumsum(rng.integers(200, 1500, 39))]).tolist()
    path = write_video(folder / "vfr.mp4", render_shot(12, 40, SIZE), pts=irregular, time_base=_MP4_10)
    add("vfr", path, "ok", 40, "every frame has another duration")
    path = write_video(
        folder / "vfr.mkv", render_shot(13, 40, SIZE), pts=irregular, time_base=_MP4_10, options={"g": "8"}
    )
    add("vfr_matroska", path, "ok", 40, "the same in milliseconds")
    late = [512 * k + 640_000 for k in range(20)]
    path = write_video(folder / "late_start.mkv", render_shot(14, 20, SIZE), pts=late, time_base=_MP4_10)
    add("late_start", path, "ok", 20, "first timestamp at 50 s")
    parts = [write_video(folder / f"clock{k}.ts", render_shot(15 + k, 30, SIZE)) for k in range(2)]
    path = folder / "clock_reset.ts"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    add("clock_reset", path, "ok", 60, "two recordings joined: the clock starts anew at frame 30")
    base = write_video(folder / "base.mkv", render_shot(17, 30, SIZE), options={"g": "10", "bf": "0"})
    path = folder / "double_stamps.mkv"
    _restamp(base, path, lambda pts, k: pts - 40 if k in (11, 20, 21) else pts)
    add("double_stamps", path, "ok", 30, "frames 11 and 20 carry the timestamp of the frame before")
    path = make_long_video(folder / "long.mp4", hours=2)
    add("long", path, "ok", 14400, "two hours at 2 frames a second")


def make_long_video(path: str | Path, hours: float, fps: int = 2, size: tuple[int, int] = (64, 48)) -> Path:
    """A video of hours, made in a second by repeating one encoded minute."""
    path = Path(path)
    minute = path.with_name(f"{path.stem}.minute.mp4")
    make_shots_video(minute, [(10, 100 + k) for k in range(6)], size, fps, options={"bf": "0", "g": "20"})
    _remux([minute] * round(hours * 60), path)
    minute.unlink()
    return path


def _remux(parts: list[Path], path: Path) -> None:
    """Joins files by copying packets; each part starts where the one before ended."""
    with av.open(str(path), "w") as output:
        stream, shift = None, 0
        cache: dict[Path, list[tuple[bytes, int, int, int, bool]]] = {}
        for part in parts:
            if part not in cache:
                with av.open(str(part)) as source:
                    if stream is None:
                        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
                        unit = source.streams.video[0].time_base
                    cache[part] = [
                        (bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in source.demux(video=0) if p.size
                    ]
            packets = cache[part]
            base = min(pts for _, pts, *_ in packets)
            for data, pts, dts, duration, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, unit
                packet.pts, packet.dts = pts - base + shift, dts - base + shift
                packet.duration, packet.is_keyframe = duration, is_key
                output.mux(packet)
            shift += max(pts + duration for _, pts, _, duration, _ in packets) - base


def _restamp(source: Path, path: Path, change: Callable[[int, int], int]) -> None:
    """Copies a video without B-frames with other timestamps."""
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0], opaque=True)
        for k, packet in enumerate(p for p in given.demux(video=0) if p.size):
            packet.pts = packet.dts = change(packet.pts, k)
            packet.stream = stream
            output.mux(packet)


def _weave(images: Iterator[Image]) -> Iterator[Image]:
    """Interlaces five images at a time, bottom field first.

    Odd rows of the first, even rows of the third.
    """
    for first in images:
        _, second, *_ = (next(images) for _ in range(4))
        frame = second.copy()
        frame[1::2] = first[1::2]
        yield frame


def _damage(data: bytes, everything: bool = False) -> bytes:
    """Overwrites bytes inside the coded frames (the `mdat` box), leaving the index alone."""
    start = data.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(data[start - 8 : start - 4], "big")
    noise = np.random.default_rng(5).integers(0, 256, end - start, dtype=np.uint8).tobytes()
    if everything:
        return data[:start] + noise + data[end:]
    middle = start + (end - start) // 2
    return data[:middle] + noise[:400] + data[middle + 400 :]


def _png() -> bytes:
    return bytes(cv2.imencode(".png", np.full((32, 32, 3), 128, np.uint8))[1])


def with_hole(source: Path, path: Path, share: float, rng: np.random.Generator) -> Path:
    """A copy of a file with a share of its bytes zeroed in the middle."""
    data = bytearray(source.read_bytes())
    size = round(share * len(data))
    start = int(rng.integers(len(data) * 4 // 10, len(data) * 8 // 10 - size))
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path


def join_streams(path: Path, parts: list[tuple[Path, float]]) -> Path:
    """One MPEG transport stream of several videos, each with its own clock start."""
    with path.open("wb") as joined:
        for number, (part, start_s) in enumerate(parts):
            piece = path.with_name(f"{path.stem}.{number}.ts")
            shift = round(start_s * 90000)
            with av.open(str(part)) as given, av.open(str(piece), "w") as output:
                stream = output.add_stream_from_template(given.streams.video[0], opaque=True)
                for packet in given.demux(video=0):
                    if packet.size:
                        ticks = Fraction(90000) * packet.time_base
                        packet.pts, packet.dts = (round(t * ticks) + shift for t in (packet.pts, packet.dts))
                        packet.duration, packet.time_base = round(packet.duration * ticks), Fraction(1, 90000)
                        packet.stream = stream
                        output.mux(packet)
            joined.write(piece.read_bytes())
    return path
