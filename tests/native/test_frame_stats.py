from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.frame_stats import THUMBNAIL_SIZE, FrameStats, available_simd, motion2
from tests.support.paths import ROOT

NO_PLANE = (b"", 0)
TAPS = (3571, 16004, 26386, 16004, 3571)


def reflected(size):
    """Row or column numbers that the five taps read, by tap."""
    index = np.arange(size) + np.arange(-2, 3)[:, None]
    index = np.abs(index)
    return np.clip(np.where(index >= size, 2 * size - 2 - index, index), 0, size - 1)


def expected_motion(before, now, bit_depth):
    """The definition of libvmaf's integer motion, in plain integers."""
    difference = before.astype(np.int64) - now
    height, width = difference.shape
    down = sum(k * difference[rows] for k, rows in zip(TAPS, reflected(height), strict=True))
    down = (down + (1 << (bit_depth - 1))) >> bit_depth
    along = sum(k * down[:, columns] for k, columns in zip(TAPS, reflected(width), strict=True))
    return int(np.abs((along + 32768) >> 16).sum()) / 256 / difference.size


def expected_cells(plane, bit_depth):
    """Rounded means of boxes, from an integral image."""
    columns, rows = THUMBNAIL_SIZE
    integral = np.pad(plane.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, left = (np.arange(n) * size // n for n, size in zip((rows, columns), plane.shape, strict=True))
    bottom = np.maximum(np.arange(1, rows + 1) * plane.shape[0] // rows, top + 1)
    right = np.maximum(np.arange(1, columns + 1) * plane.shape[1] // columns, left + 1)
    boxes = integral[bottom][:, right] - integral[bottom][:, left] - integral[top][:, right] + integral[top][:, left]
    weights = np.outer(bottom - top, right - left) << (bit_depth - 8)
    return np.minimum(255, (2 * boxes + weights) // (2 * weights))


def check(stat, planes, before, bit_depth):
    """All numbers of a frame against plain integer arithmetic; floats must have the same bits."""
    y = planes[0]
    unit = 1 << (bit_depth - 8)
    assert stat.motion == (0.0 if before is None else expected_motion(before, y, bit_depth))
    means = [int(plane.sum(dtype=np.int64)) / (plane.size * unit) for plane in planes]
    nominal = int(np.clip(y, 16 * unit, 235 * unit).sum(dtype=np.int64)) / (y.size * unit)
    assert [stat.luma_mean, stat.u_mean, stat.v_mean] == means
    assert stat.luma_nominal_mean == nominal
    assert stat.thumbnail.shape == (36, 64, 3) and stat.thumbnail.dtype == np.uint8
    for channel, plane in enumerate(planes):
        assert np.array_equal(stat.thumbnail[..., channel], expected_cells(plane, bit_depth))


def as_plane(array, padding=0):
    """The array as a buffer without a byte after its last sample.

    `padding` samples separate its rows.
    """
    padded = np.pad(array, ((0, 0), (0, padding)), constant_values=77)
    used = padded.size - padding
    return padded.reshape(-1)[:used].tobytes(), padded.strides[0]


def draw_frame(rng, kind, shape, bit_depth, before):
    top = (1 << bit_depth) - 1
    if kind == "noise":
        return rng.integers(0, top + 1, shape)
    if kind == "black or white":
        return rng.integers(0, 2, shape) * top
    if kind == "small steps":
        return np.clip(before + rng.integers(-3, 4, shape), 0, top)
    frame = before.copy()  # a flat patch on a still frame: blocks without change beside extreme ones
    rows, columns = (np.sort(rng.integers(0, n + 1, 2)) for n in shape)
    frame[rows[0] : rows[1], columns[0] : columns[1]] = rng.choice([0, top])
    return frame


@settings(max_examples=150, deadline=None)
@given(
    width=st.one_of(st.integers(1, 150), st.integers(120, 600)),
    height=st.integers(1, 90),
    bit_depth=st.sampled_from([8, 8, 8, 9, 10, 12, 14, 15, 16]),
    subsampling=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2)]),
    padding=st.integers(0, 9),
    kinds=st.lists(
        st.sampled_from(["noise", "black or white", "small steps", "patch", "patch"]), min_size=2, max_size=4
    ),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.slow
def test_numbers_equal_plain_integer_arithmetic_on_every_path(
    width, height, bit_depth, subsampling, padding, kinds, seed
):
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    chroma = (-(-height // subsampling[1]), -(-width // subsampling[0]))
    size = {"chroma_width": chroma[1], "chroma_height": chroma[0], "bit_depth": bit_depth}
    paths = [FrameStats(width, height, **size, simd=simd) for simd in available_simd()]
    before = None
    for kind in kinds:
        base = rng.integers(0, 1 << bit_depth, (height, width)) if before is None else before.astype(np.int64)
        y = draw_frame(rng, kind, (height, width), bit_depth, base).astype(dtype)
        u, v = (rng.integers(0, 1 << bit_depth, chroma).astype(dtype) for _ in "uv")
        for stats in paths:
            stat = stats.push(as_plane(y, padding), as_plane(u, padding), as_plane(v, padding))
            check(stat, (y, u, v), before, bit_depth)
        before = y


@pytest.mark.parametrize("simd", available_simd())
@pytest.mark.parametrize("edge", [126, 127, 128, 129, 130])
@pytest.mark.parametrize("level", [40, 255])  # within 16 bits after the first blur, and beyond
@pytest.mark.parametrize("side", ["left", "right"])
def test_differences_that_end_near_the_edge_of_a_block(simd, edge, level, side):
    black = np.zeros((9, 300), np.uint8)
    patched = black.copy()
    patched[:, slice(edge) if side == "left" else slice(edge, None)] = level
    stats = FrameStats(300, 9, chroma_width=0, chroma_height=0, simd=simd)
    stats.push(as_plane(black), NO_PLANE, NO_PLANE)
    for before, now in ((black, patched), (patched, black)):
        motion = stats.push(as_plane(now), NO_PLANE, NO_PLANE).motion
        assert motion == expected_motion(before, now, 8)


@pytest.mark.parametrize("simd", available_simd())
@pytest.mark.parametrize(("width", "height", "bit_depth"), [(4100, 300, 8), (70, 9300, 8), (70, 9300, 16)])
def test_large_white_frames_overflow_no_sum(simd, width, height, bit_depth):
    top = (1 << bit_depth) - 1
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    stats = FrameStats(width, height, chroma_width=0, chroma_height=0, bit_depth=bit_depth, simd=simd)
    black, white = np.zeros((height, width), dtype), np.full((height, width), top, dtype)
    stats.push((black, black.strides[0]), NO_PLANE, NO_PLANE)
    stat = stats.push((white, white.strides[0]), NO_PLANE, NO_PLANE)
    unit = 1 << (bit_depth - 8)
    assert stat.luma_mean == top / unit
    assert stat.luma_nominal_mean == 235
    assert (stat.thumbnail[..., 0] == 255).all()
    assert stat.motion == pytest.approx(top / unit, rel=1e-4)


@pytest.mark.parametrize("simd", available_simd())
@pytest.mark.parametrize(("width", "height"), [(448, 504), (384, 540), (192, 1080), (1280, 720)])
def test_a_cell_halfway_between_two_values_is_rounded_up(simd, width, height):
    board = (np.indices((height, width)).sum(axis=0) % 2).astype(np.uint8)
    stats = FrameStats(width, height, chroma_width=0, chroma_height=0, simd=simd)
    stat = stats.push((board, width), NO_PLANE, NO_PLANE)
    assert stat.luma_mean == 0.5
    assert (stat.thumbnail[..., 0] == 1).all()


def test_gray_has_neutral_chroma():
    stat = FrameStats(8, 8, chroma_width=0, chroma_height=0).push((bytes(64), 8), (None, 0), NO_PLANE)
    assert (stat.u_mean, stat.v_mean) == (128, 128)
    assert (stat.thumbnail[..., 1:] == 128).all()


def test_the_first_frame_has_no_motion_also_after_a_reset():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    assert stats.push((bytes(64), 8), NO_PLANE, NO_PLANE).motion == 0
    assert stats.push((b"\xff" * 64, 8), NO_PLANE, NO_PLANE).motion == 255
    stats.reset()
    assert stats.push((bytes(64), 8), NO_PLANE, NO_PLANE).motion == 0


def test_luma_is_held_until_the_next_frame_or_a_reset():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    first, second = bytearray(64), bytearray(64)
    stats.push((first, 8), NO_PLANE, NO_PLANE)
    with pytest.raises(BufferError):
        first.append(0)
    stats.push((second, 8), NO_PLANE, NO_PLANE)
    first.append(0)
    stats.reset()
    second.append(0)


def test_a_refused_frame_leaves_the_comparison_as_it_was():
    stats = FrameStats(8, 8, chroma_width=4, chroma_height=4)
    chroma = (bytes(16), 4)
    stats.push((bytes(64), 8), chroma, chroma)
    with pytest.raises(ValueError, match="plane v has 15 bytes"):
        stats.push((b"\x40" * 64, 8), chroma, (bytes(15), 4))
    assert stats.push((b"\xff" * 64, 8), chroma, chroma).motion == 255


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [(63, 8, "63 bytes"), (64, 7, "line size"), (10_000, 0, "line size"), (64, -8, "line size"), (0, 8, "0 bytes")],
)
def test_a_buffer_that_is_too_short_is_refused(length, stride, message):
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    with pytest.raises(ValueError, match=message):
        stats.push((bytes(length), stride), NO_PLANE, NO_PLANE)


def test_a_line_size_that_overflows_is_refused():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    with pytest.raises(ValueError, match="too large"):
        stats.push((bytes(64), 2**62), NO_PLANE, NO_PLANE)


def test_samples_of_two_bytes_must_be_aligned():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0, bit_depth=10)
    with pytest.raises(ValueError, match="aligned"):
        stats.push((bytes(200), 17), NO_PLANE, NO_PLANE)


def test_what_is_no_buffer_is_refused():
    stats = FrameStats(8, 8, chroma_width=0, chroma_height=0)
    with pytest.raises(TypeError):
        stats.push((object(), 8), NO_PLANE, NO_PLANE)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": 40_000},
        {"chroma_width": 4},
        {"chroma_width": 9, "chroma_height": 4},
        {"bit_depth": 7},
        {"bit_depth": 17},
        {"simd": "mmx"},
    ],
)
def test_invalid_formats_are_refused(changes):
    values = {"width": 8, "height": 8, "chroma_width": 0, "chroma_height": 0, **changes}
    with pytest.raises(ValueError):
        FrameStats(values.pop("width"), values.pop("height"), **values)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects memory by Linux's mprotect")
@pytest.mark.parametrize("simd", available_simd())
def test_nothing_is_read_behind_a_plane(simd):
    """Planes end at an unreadable page.

    In a process of its own, since a fault ends it.
    """
    program = f"""
        import ctypes, mmap
        from native.frame_stats import FrameStats
        page = mmap.PAGESIZE
        room = 8 * page
        memory = mmap.mmap(-1, room + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + room), page, 0) == 0
        for depth, bytes_ in ((8, 1), (10, 2), (16, 2)):
            for width in (1, 15, 16, 31, 33, 63, 64, 65, 127, 129, 200):
                plane = (ctypes.c_char * (width * bytes_ * 5)).from_address(start + room - width * bytes_ * 5)
                given = (plane, width * bytes_)
                stats = FrameStats(
                    width, 5, chroma_width=width, chroma_height=5, bit_depth=depth, simd={simd!r}
                )
                stats.push(given, given, given)
                stats.push(given, given, given)
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        ([], []),
        ([0.0], [0.0]),
        ([0.0, 3.0], [0.0, 3.0]),
        ([0.0, 3.0, 90.0, 2.0, 4.0], [0.0, 3.0, 2.0, 2.0, 4.0]),
    ],
)
def test_motion2_is_the_minimum_of_a_frame_and_the_next(motion, expected):
    given = np.array(motion)
    assert motion2(given).tolist() == expected
    assert given.tolist() == motion
