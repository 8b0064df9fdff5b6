from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.frame_stats import THUMBNAIL_SIZE, FrameStats, available_simd

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"
NO_PLANE = (b"", 0)
TAPS = (3571, 16004, 26386, 16004, 3571)


def mirrored(index, size):
    while size > 1 and not 0 <= index < size:
        index = -index if index < 0 else 2 * size - 2 - index
    return min(max(index, 0), size - 1)


def blurred(luma, bit_depth):
    """libvmaf's blur in plain integers."""
    height, width = luma.shape
    rows = [[mirrored(r + t - 2, height) for r in range(height)] for t in range(5)]
    columns = [[mirrored(c + t - 2, width) for c in range(width)] for t in range(5)]
    vertical = sum(k * luma[r].astype(np.int64) for k, r in zip(TAPS, rows, strict=True))
    vertical = (vertical + (1 << (bit_depth - 1))) >> bit_depth
    return (sum(k * vertical[:, c] for k, c in zip(TAPS, columns, strict=True)) + 32768) >> 16


def cells(plane, bit_depth):
    height, width = plane.shape
    columns, rows = THUMBNAIL_SIZE
    out = np.zeros((rows, columns), np.int64)
    for r in range(rows):
        top = r * height // rows
        bottom = max((r + 1) * height // rows, top + 1)
        for c in range(columns):
            left = c * width // columns
            right = max((c + 1) * width // columns, left + 1)
            box = plane[top:bottom, left:right].astype(np.int64)
            scale = box.size << (bit_depth - 8)
            out[r, c] = min(255, (int(box.sum()) + scale // 2) // scale)
    return out


def plane(array, padding):
    """The array as a buffer with `padding` samples behind each row."""
    padded = np.pad(array, ((0, 0), (0, padding)), constant_values=77)
    return padded.tobytes(), padded.strides[0]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(3, 150),
    height=st.integers(3, 90),
    bit_depth=st.sampled_from([8, 9, 10, 12, 16]),
    padding=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_numbers_equal_plain_integer_arithmetic_on_both_paths(width, height, bit_depth, padding, seed):
    rng = np.random.default_rng(seed)
    kind = np.uint8 if bit_depth == 8 else np.uint16
    chroma = ((height + 1) // 2, (width + 1) // 2)
    size = {"chroma_width": chroma[1], "chroma_height": chroma[0], "bit_depth": bit_depth}
    paths = [FrameStats(width, height, **size, simd=simd) for simd in available_simd()]
    previous = None
    for _ in range(3):
        y, u, v = (rng.integers(0, 2**bit_depth, shape).astype(kind) for shape in ((height, width), chroma, chroma))
        now = blurred(y, bit_depth)
        motion = 0.0 if previous is None else float(np.float32(np.abs(now - previous).sum() / 256)) / y.size
        previous = now
        scale = 2.0 ** (bit_depth - 8)
        for stats in paths:
            stat = stats.push(plane(y, padding), plane(u, padding), plane(v, padding))
            assert stat.motion == motion
            assert stat.luma_mean == pytest.approx(y.mean() / scale)
            assert stat.luma_nominal_mean == pytest.approx(np.clip(y, 16 * scale, 235 * scale).mean() / scale)
            assert stat.u_mean == pytest.approx(u.mean() / scale)
            assert stat.v_mean == pytest.approx(v.mean() / scale)
            for channel, values in enumerate((y, u, v)):
                assert np.array_equal(stat.thumbnail[..., channel], cells(values, bit_depth))


def test_gray_has_neutral_chroma():
    stat = FrameStats(8, 8, chroma_width=0, chroma_height=0).push((bytes(64), 8), NO_PLANE, NO_PLANE)
    assert (stat.u_mean, stat.v_mean) == (128, 128)
    assert (stat.thumbnail[..., 1:] == 128).all()


def test_after_a_reset_there_is_no_motion():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    stats.push((bytes(64), 8), NO_PLANE, NO_PLANE)
    assert stats.push((b"\xff" * 64, 8), NO_PLANE, NO_PLANE).motion == 255
    stats.reset()
    assert stats.push((bytes(64), 8), NO_PLANE, NO_PLANE).motion == 0


@pytest.mark.parametrize(("length", "stride"), [(63, 8), (64, 7), (10_000, 0), (64, -8), (0, 8)])
def test_a_buffer_that_is_too_short_is_refused(length, stride):
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    with pytest.raises(ValueError):
        stats.push((bytes(length), stride), NO_PLANE, NO_PLANE)


@pytest.mark.parametrize("changes", [{"width": 0}, {"chroma_width": 4}, {"bit_depth": 7}, {"bit_depth": 17}])
def test_senseless_sizes_are_refused(changes):
    values = {"width": 8, "height": 8, "chroma_width": 0, "chroma_height": 0, **changes}
    with pytest.raises(ValueError):
        FrameStats(values.pop("width"), values.pop("height"), **values)


@pytest.mark.parametrize(
    "name", ["carphone_qcif.mp4", "bear_vp9.webm", "phone_rotated_vfr.mp4", "deepv2d_golf.mov", "highway_cctv.avi"]
)
def test_motion_equals_libvmaf(name, tmp_path):
    path = VIDEOS / name
    if not path.exists():
        pytest.skip("the shared test videos are not here")
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no ffmpeg with libvmaf").get_ffmpeg_exe()
    log = tmp_path / "vmaf.csv"
    source = ["-noautorotate", "-i", str(path)]
    limit = ["-fps_mode", "passthrough", "-frames:v", "120", "-f", "null", "-"]
    command = [ffmpeg, "-nostdin", "-loglevel", "error", *source, *source]
    command += ["-lavfi", f"libvmaf=log_fmt=csv:log_path={log}", *limit]
    subprocess.run(command, check=True)
    expected = np.array([float(row["integer_motion2"]) for row in csv.DictReader(log.open())])
    motion = []
    with av.open(str(path), metadata_errors="ignore") as container:
        stats = None
        for frame in container.decode(video=0):
            y, u, _ = frame.planes
            stats = stats or FrameStats(y.width, y.height, chroma_width=u.width, chroma_height=u.height)
            motion.append(stats.push(*((p, p.line_size) for p in frame.planes)).motion)
    # libvmaf was stopped early where the video is longer: its last value lacks the minimum with the next.
    count = len(expected) - 1
    ours = np.minimum(motion, [*motion[1:], np.inf])[:count]
    assert np.abs(ours - expected[:count]).max() < 1e-3
    assert abs(ours.mean() - expected[:count].mean()) < 1e-4
