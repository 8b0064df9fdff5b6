"""Which files can be copied as clips byte for byte."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from core.time import FrameSpan
from media.decode import VideoReader
from media.encode import CutSettings, copy_clip
from media.probe import probe_video
from media.stream_copy import copy_obstacle, copy_to_local
from tests.support.rendering import render_shot, write_video


def whole(path):
    """Metadata of a file, and the span of all its frames."""
    info = probe_video(str(path))
    with VideoReader(str(path)) as reader:
        frames = list(reader.frames())
    end = frames[-1].pts + frames[-1].duration
    span = FrameSpan(
        start_frame=0, end_frame=len(frames), start_pts=frames[0].pts, end_pts=end, time_base=info.time_base
    )
    return info, span


def written(path, **options):
    return write_video(path, render_shot(1, 12, (64, 48)), **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("sound.mp4", {"with_audio": True}),
        ("odd times.mp4", {"pts": [k * k + 7 for k in range(12)]}),
    ],
)
def test_an_ordinary_mp4_is_copied_with_all_its_bytes(tmp_path, name, options):
    path = written(tmp_path / name, **options)
    info, span = whole(path)
    assert copy_obstacle(str(path), span, info) is None
    result = copy_clip(str(path), span, info, CutSettings(whole_video="copy"), str(tmp_path / "copy.mp4"))
    assert (tmp_path / "copy.mp4").read_bytes() == path.read_bytes()
    assert (result.num_frames, result.size_bytes) == (12, path.stat().st_size)
    assert copy_to_local(str(path), str(tmp_path / "again.mp4")) == result.digest


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("other.mkv", {}, "not an MP4"),
        ("apple.mov", {}, "not an MP4"),
        ("old.mp4", {"codec": "mpeg4"}, "codec is mpeg4"),
    ],
)
def test_obstacles_to_a_copy_are_named(tmp_path, name, options, reason):
    path = written(tmp_path / name, **options)
    info, span = whole(path)
    assert reason in copy_obstacle(str(path), span, info)
    assert copy_clip(str(path), span, info, CutSettings(whole_video="copy"), str(tmp_path / "copy.mp4")) is None


def test_a_part_of_a_file_is_not_copied(tmp_path):
    path = written(tmp_path / "video.mp4")
    info, span = whole(path)
    part = FrameSpan(
        start_frame=0, end_frame=6, start_pts=span.start_pts, end_pts=span.end_pts // 2, time_base=info.time_base
    )
    assert "12 packets for 6 frames" in copy_obstacle(str(path), part, info)


@pytest.mark.parametrize("settings", [{"max_short_side_px": 32}, {"max_fps": 5}])
def test_a_video_that_needs_scaling_is_not_copied(tmp_path, settings):
    path = written(tmp_path / "video.mp4")
    info, span = whole(path)
    assert copy_clip(str(path), span, info, CutSettings(whole_video="copy", **settings), str(tmp_path / "c")) is None


def test_a_video_with_a_display_matrix_is_not_copied(tmp_path):
    turned = written(tmp_path / "turned.mp4", prepare=lambda stream: stream.set_display_rotation(-90))
    info, span = whole(turned)
    assert info.rotation_deg in (90, 270)
    assert "display matrix" in copy_obstacle(str(turned), span, info)


def test_frames_discarded_by_an_edit_list_prevent_a_copy(tmp_path):
    path = written(tmp_path / "video.mp4", fps=Fraction(10))
    cut = tmp_path / "cut.mp4"
    with av.open(str(path)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts = packet.pts - 3 * packet.duration, packet.dts - 3 * packet.duration
                packet.stream = stream
                target.mux(packet)
    info, span = whole(cut)
    assert "packets for" in copy_obstacle(str(cut), span, info)
