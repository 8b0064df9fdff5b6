"""Motion against libvmaf itself, in the static ffmpeg of imageio-ffmpeg.

ffmpeg applies the display matrix, which decoders do not: `-noautorotate` disables it, since the blur rounds after its
vertical pass and gives slightly different numbers for a rotated frame.
"""

from __future__ import annotations

import csv
import subprocess
from itertools import islice

import av
import numpy as np
import pytest

from native.frame_stats import FrameStats, motion2
from tests.support.paths import DATA, NO_DATA

VIDEOS = DATA / "videos"

# Name and bit depth: tiny, VP9, B-frames, variable frame rate, display rotation, cuts, 1080p, ten bits.
CASES = [
    ("carphone_qcif.mp4", 8),
    ("bear_vp9.webm", 8),
    ("nasa_13013.mp4", 8),
    ("desks_h263_vfr.3gp", 8),
    ("phone_rotated_vfr.mp4", 8),
    ("bikes.mp4", 8),
    ("deepv2d_golf.mov", 8),
    ("hdr10_av1_portrait.mp4", 10),
    ("hevc_editlist_rot.mp4", 10),
]
MAX_PIXELS = 8_000_000


def libvmaf_motion2(path, frames, folder):
    """The column of libvmaf's log for the first frames of a video compared with itself."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg's ffmpeg has libvmaf")
    source = ["-noautorotate", "-i", str(path)]
    cut = ";".join(f"[{i}:v:0]trim=end_frame={frames}[{name}]" for i, name in enumerate(("a", "b")))
    graph = f"{cut};[a][b]libvmaf=n_threads=2:log_fmt=csv:log_path=vmaf.csv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *source, *source]
    command += ["-lavfi", graph, "-fps_mode", "passthrough", "-f", "null", "-"]
    subprocess.run(command, check=True, cwd=folder, timeout=300)
    with (folder / "vmaf.csv").open() as log:
        return np.array([float(row["integer_motion2"]) for row in csv.DictReader(log)])


def our_motion2(path, frames, bit_depth):
    motion = []
    with av.open(str(path), metadata_errors="ignore") as container:
        stats = None
        for frame in islice(container.decode(video=0), frames):
            planes = [(plane, plane.line_size) for plane in frame.planes]
            if stats is None:
                y, u, _ = frame.planes
                stats = FrameStats(y.width, y.height, chroma_width=u.width, chroma_height=u.height, bit_depth=bit_depth)
            motion.append(stats.push(*planes).motion)
    return motion2(np.array(motion))


@pytest.mark.parametrize(("name", "bit_depth"), CASES)
def test_motion_equals_libvmaf(name, bit_depth, tmp_path):
    path = VIDEOS / name
    if not path.exists():
        pytest.skip(NO_DATA)
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        frames = min(60, max(6, MAX_PIXELS // (stream.width * stream.height)))
    expected = libvmaf_motion2(path, frames, tmp_path)
    ours = our_motion2(path, frames, bit_depth)
    assert len(ours) == len(expected)
    assert expected.max() > 0.01  # the video moves
    # The log has six decimals, and what is computed is the same.
    assert np.abs(ours - expected).max() <= 6e-7
    assert abs(ours.mean() - expected.mean()) <= 6e-7
