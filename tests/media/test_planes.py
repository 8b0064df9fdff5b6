from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame

from core.failures import ItemError
from media.planes import bit_depth, planar_format, planes

RNG = np.random.default_rng(0)


def make_frame(format_name: str, width: int = 64, height: int = 48) -> VideoFrame:
    rgb = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=format_name, threads=1)


@pytest.mark.parametrize(
    ("format_name", "chroma"),
    [
        ("yuv420p", (24, 32)), ("yuvj420p", (24, 32)), ("yuv422p", (48, 32)), ("yuv444p", (48, 64)),
        ("yuv411p", (48, 16)), ("yuv420p10le", (24, 32)), ("yuv444p12le", (48, 64)), ("yuva420p", (24, 32)),
    ],
)  # fmt: skip
def test_planar_formats_are_not_copied(format_name: str, chroma: tuple[int, int]) -> None:
    frame = make_frame(format_name)
    found = planes(frame)
    assert found.y.buffer_ptr == frame.planes[0].buffer_ptr
    assert found.luma().__array_interface__["data"][0] == frame.planes[0].buffer_ptr
    assert found.luma().shape == (48, 64)
    u, v = found.chroma() or ()
    assert u.shape == v.shape == chroma == (found.chroma_height, found.chroma_width)
    assert v.__array_interface__["data"][0] == frame.planes[2].buffer_ptr
    assert found.bit_depth == bit_depth(format_name)
    assert found.luma().dtype == (np.uint8 if found.bit_depth == 8 else np.uint16)
    assert int(found.luma().max()) < 2**found.bit_depth
    assert found.is_full_range == format_name.startswith("yuvj")


def test_views_keep_the_frame_alive() -> None:
    frame = make_frame("yuv420p", 640, 480)
    expected = frame.to_ndarray()[:480].copy()
    luma = planes(frame).luma()
    del frame
    for _ in range(5):
        make_frame("yuv420p", 640, 480)
    assert np.array_equal(luma, expected)


def test_padding_is_not_shown() -> None:
    found = planes(make_frame("yuv420p", 50, 30))
    assert found.luma().shape == (30, 50) and found.y_stride >= 50
    assert (found.chroma_height, found.chroma_width) == (15, 25)


@pytest.mark.parametrize("format_name", ["gray", "gray10le", "gray16le"])
def test_gray_has_no_chroma(format_name: str) -> None:
    found = planes(make_frame(format_name))
    assert found.chroma() is None and found.u is None and found.uv_stride == 0
    assert found.bit_depth == bit_depth(format_name)


@pytest.mark.parametrize(
    ("format_name", "becomes"),
    [
        ("nv12", "yuv420p"), ("nv16", "yuv422p"), ("p010le", "yuv420p10le"), ("yuyv422", "yuv422p"),
        ("uyvy422", "yuv422p"), ("rgb24", "yuv444p"), ("bgr0", "yuv444p"), ("gbrp", "yuv444p"),
        ("gbrp10le", "yuv444p10le"), ("rgb48le", "yuv444p16le"), ("yuv420p10be", "yuv420p10le"),
        ("pal8", "yuv444p"), ("monow", "gray"), ("ya8", "gray"), ("gray16be", "gray16le"),
        ("yuv422p14be", "yuv422p16le"), ("bayer_rggb8", "yuv420p"), ("yuv444p10msble", "yuv444p10le"),
    ],
)  # fmt: skip
def test_other_formats_become_the_nearest_planar_one(format_name: str, becomes: str) -> None:
    assert planar_format(format_name) == becomes
    assert planar_format(becomes) == becomes


@pytest.mark.parametrize("format_name", ["nv12", "yuyv422", "p010le", "yuv420p10be"])
def test_repacking_keeps_the_samples(format_name: str) -> None:
    frame = make_frame(format_name)
    direct = planes(frame.reformat(format=planar_format(format_name), threads=1))
    found = planes(frame)
    assert np.array_equal(found.luma(), direct.luma())
    assert all(np.array_equal(a, b) for a, b in zip(found.chroma() or (), direct.chroma() or (), strict=True))


def test_rgb_becomes_limited_range_luma() -> None:
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:8] = 255
    luma = planes(VideoFrame.from_ndarray(rgb, "rgb24")).luma()
    assert abs(int(luma[0, 0]) - 235) <= 1 and abs(int(luma[-1, 0]) - 16) <= 1


def test_a_format_that_cannot_be_converted_is_an_item_error() -> None:
    with pytest.raises(ItemError) as caught:
        planes(VideoFrame(16, 16, "gray32le"))
    assert caught.value.error_class == "UnsupportedFormat" and "gray32le" in caught.value.cause
