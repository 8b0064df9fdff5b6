from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from core.failures import ItemError
from media.decode import VideoReader
from media.images import decode_jpeg, encode_jpeg, reference_sample_image, rotate_upright, sample_image
from media.probe import probe_video
from tests.support.hostile import HostileCase
from tests.support.measure import gray
from tests.support.rendering import render_shot

BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


def flat_frame(
    yuv: tuple[int, int, int], size: tuple[int, int], matrix: int, range_: int, format_name: str = "yuv420p"
) -> VideoFrame:
    frame = VideoFrame(*size, format_name)
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, range_
    return frame


def rgb_of(yuv: tuple[int, int, int], weights: tuple[float, float], full: bool) -> np.ndarray:
    """RGB by the definition of ITU-R BT.601, 709 and 2020."""
    red_weight, blue_weight = weights
    y, u, v = yuv
    luma = y / 255 if full else (y - 16) / 219
    cb, cr = ((c - 128) / (255 if full else 224) for c in (u, v))
    red, blue = luma + 2 * (1 - red_weight) * cr, luma + 2 * (1 - blue_weight) * cb
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.array([red, green, blue]) * 255, 0, 255)


@pytest.mark.parametrize(
    ("size", "matrix", "range_", "format_name", "weights", "full"),
    [
        ((640, 360), 1, 1, "yuv420p", BT709, False),
        ((160, 90), 1, 1, "yuv420p", BT709, False),
        ((160, 90), 6, 2, "yuvj420p", BT601, True),
        ((640, 360), 6, 1, "yuv420p", BT601, False),
        ((640, 360), 5, 1, "yuv420p", BT601, False),
        ((640, 360), 9, 1, "yuv420p", BT2020, False),
        ((640, 360), 1, 2, "yuv420p", BT709, True),
        ((640, 360), 6, 2, "yuvj420p", BT601, True),
        ((640, 360), 2, 0, "yuv420p", BT601, False),
        ((1280, 720), 2, 0, "yuv420p", BT709, False),
    ],
)
def test_colors_follow_the_stream(
    size: tuple[int, int], matrix: int, range_: int, format_name: str, weights: tuple[float, float], full: bool
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        y, u, v = (int(x) for x in (rng.integers(60, 200), *rng.integers(100, 156, 2)))
        image = sample_image(flat_frame((y, u, v), size, matrix, range_, format_name), 320, 180)
        assert np.abs(image - rgb_of((y, u, v), weights, full)).max() <= 0.6


@pytest.mark.parametrize(
    ("size", "turn_deg", "ratio", "box", "shape"),
    [
        ((1920, 1080), 0, Fraction(1), (640, 360), (360, 640)),
        ((1080, 1920), 0, Fraction(1), (640, 360), (360, 202)),
        ((1920, 1080), 90, Fraction(1), (640, 360), (360, 202)),
        ((160, 120), 0, Fraction(1), (640, 360), (120, 160)),
        ((161, 121), 270, Fraction(1), (640, 360), (161, 121)),
        ((720, 576), 0, Fraction(16, 11), (640, 360), (352, 640)),
        ((720, 480), 0, Fraction(8, 9), (640, 360), (360, 480)),
        ((4000, 20), 0, Fraction(1), (640, 360), (3, 640)),
    ],
)
def test_images_fit_the_box_and_keep_their_aspect_ratio(
    size: tuple[int, int], turn_deg: int, ratio: Fraction, box: tuple[int, int], shape: tuple[int, int]
) -> None:
    frame = flat_frame((128, 128, 128), size, 1, 1)
    image = sample_image(frame, *box, rotation_deg=turn_deg, sample_aspect_ratio=ratio)
    assert image.shape == (*shape, 3) and image.dtype == np.uint8 and image.flags.c_contiguous


def test_rotated_videos_become_upright(hostile: dict[str, HostileCase]) -> None:
    (upright,) = render_shot(6, 1, (160, 120))
    for name in ("rotated_90", "rotated_180", "rotated_270", "mirrored"):
        info = probe_video(hostile[name].path)
        with VideoReader(hostile[name].path) as reader:
            frame = next(reader.frames()).frame
        image = sample_image(frame, 640, 360, rotation_deg=info.rotation_deg, is_mirrored=info.is_mirrored)
        assert image.shape == upright.shape
        assert np.abs(image.astype(int) - upright).mean() < 6, name


def test_shrinking_averages_areas() -> None:
    pattern = np.zeros((360, 640, 3), np.uint8)
    pattern[::2, ::2] = pattern[1::2, 1::2] = 255
    image = sample_image(VideoFrame.from_ndarray(pattern, "rgb24"), 160, 90)
    assert np.abs(image.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("name", ["psd_testvideo.mp4", "bbb_0_30.webm", "phone_rotated_vfr.mp4"])
def test_the_reference_image_is_what_opencv_reads(data: Path, name: str) -> None:
    """Exact on videos that OpenCV reads by BT.601, whatever their color tags."""
    path = str(data / name)
    capture = cv2.VideoCapture(path)
    turn_deg = probe_video(path).rotation_deg
    with VideoReader(path) as reader:
        for _, decoded in zip(range(5), reader.frames(), strict=False):
            expected = cv2.resize(capture.read()[1], (640, 360))[:, :, ::-1]
            assert np.array_equal(reference_sample_image(decoded.frame, rotation_deg=turn_deg), expected)


def test_the_reference_image_ignores_color_tags() -> None:
    images = [
        reference_sample_image(flat_frame((120, 90, 170), (1280, 720), matrix, range_))
        for matrix, range_ in ((1, 1), (9, 2), (2, 0), (6, 1))
    ]
    assert all(np.array_equal(images[0], i) for i in images[1:])
    assert np.abs(images[0][0, 0] - rgb_of((120, 90, 170), BT601, False)).max() < 3


def test_rotation_is_clockwise() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for turns in range(4):
        expected = np.rot90(image, -turns)
        assert np.array_equal(rotate_upright(image, 90 * turns), expected)
        assert np.array_equal(rotate_upright(image, 90 * turns, True), expected[:, ::-1])


def test_jpeg_round_trip_is_close_and_reproducible() -> None:
    (image,) = render_shot(3, 1, (320, 180))
    data = encode_jpeg(image, 95)
    assert data == encode_jpeg(image.copy(), 95) and data[:2] == b"\xff\xd8"
    assert np.abs(gray(decode_jpeg(data)) - gray(image)).mean() < 1.5
    assert len(encode_jpeg(image, 50)) < len(data)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff"])
def test_bytes_that_are_not_an_image_are_an_item_error(data: bytes) -> None:
    with pytest.raises(ItemError) as caught:
        decode_jpeg(data)
    assert caught.value.error_class == "BadImage"
