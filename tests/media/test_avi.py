"""Frames of damaged AVI files keep the times that the index states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.damaged_time import FILES, media_bytes, numbered_frames, scan_holes
from media.decode import VideoReader
from media.probe import probe_video
from tests.support.rendering import write_video


@pytest.fixture(params=["absolute", "relative"])
def avi(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A video whose index counts from the list, as FFmpeg writes it, or from the start of the file."""
    path = write_video(tmp_path / "a.avi", numbered_frames(100), **FILES["mpeg4.avi"])
    if request.param == "absolute":
        data = path.read_bytes()
        movi, index = data.index(b"movi"), data.rindex(b"idx1") + 8
        entries = np.frombuffer(data[index:], "<u4").reshape(-1, 4).copy()
        entries[:, 2] += movi
        path.write_bytes(data[:index] + entries.tobytes())
    return path


def test_a_hole_in_the_first_chunks_moves_no_frame(avi: Path) -> None:
    data = avi.read_bytes()
    start, end = media_bytes(data, ".avi")
    size = (end - start) // 3
    holed = avi.with_name("holed.avi")
    holed.write_bytes(data[:start] + bytes(size) + data[start + size :])
    with VideoReader(str(holed)) as reader:
        pts = [d.pts for d in reader.frames()]
    assert pts[0] > 3 and pts == list(range(pts[0], 100))
    assert probe_video(str(holed)).start_pts == pts[0]


@pytest.mark.parametrize("name", ["mpeg4.avi", "mjpeg.avi", "h264.mp4", "h264.mkv"])
def test_holes_move_no_undamaged_frame(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered_frames(250), **FILES[name])
    results = list(scan_holes(path, 12, 7))
    assert all(r is not None and r.num_undamaged and not r.num_misplaced and not r.is_out_of_order for r in results)
