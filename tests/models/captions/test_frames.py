from __future__ import annotations

from fractions import Fraction

import pytest

from media.images import decode_jpeg
from media.probe import probe_video
from models.captions.frames import EvenSampler, read_images
from models.captions.reference import SpatialVidSampler
from models.captions.settings import FrameSettings
from tests.support.paths import DATA, EXAMPLES, NO_DATA

VIDEO = EXAMPLES / "bikes.mp4"
PORTRAIT = DATA / "videos" / "hdr10_av1_portrait.mp4"

# Frames that SpatialVID's captions are made from, by frame rate and length of the clip.
REFERENCE = [
    (Fraction(15), 15, (3, 10, 15)),
    (Fraction(24000, 1001), 20, (4, 12, 18)),
    (Fraction(24), 20, (4, 12, 18)),
    (Fraction(25), 25, (3, 10, 15)),
    (Fraction(30000, 1001), 25, (4, 12, 18)),
    (Fraction(30), 30, (3, 10, 15)),
    (Fraction(48), 45, (4, 11, 16)),
    (Fraction(60000, 1001), 55, (4, 11, 17)),
    (Fraction(60), 60, (3, 10, 15)),
    (Fraction(120), 120, (3, 10, 15)),
]


@pytest.mark.parametrize(("fps", "step", "counts"), REFERENCE)
def test_the_reference_takes_the_published_frames(fps, step, counts):
    for seconds, count in zip((3, 9.4, 15), counts, strict=True):
        frames = SpatialVidSampler().indices(int(seconds * fps), float(fps))
        assert frames == list(range(0, int(seconds * fps), step))
        assert len(frames) == count


@pytest.mark.parametrize(
    ("num_frames", "fps", "changes", "expected"),
    [
        (90, 30.0, {}, [0, 30, 60]),
        (91, 30.0, {}, [0, 30, 60, 90]),
        (90, 29.97, {"fps": 2.0}, [0, 15, 30, 45, 60, 75]),
        (901, 30.0, {"max_frames": 4}, [0, 300, 600, 900]),
        (901, 30.0, {"max_frames": 1}, [0]),
        (1, 25.0, {}, [0]),
        (3, 2.0, {}, [0, 2]),
        (4, 1.0, {"fps": 5.0}, [0, 1, 2, 3]),
    ],
)
def test_frames_are_even_and_at_most_so_many(num_frames, fps, changes, expected):
    assert EvenSampler(FrameSettings(**changes)).indices(num_frames, fps) == expected


def test_images_have_their_times():
    info = probe_video(str(VIDEO))
    images, times_s = read_images(str(VIDEO), info, 240, 25.0, EvenSampler(FrameSettings(max_side_px=320)))
    assert times_s == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], abs=0.05)
    assert images[3].label == f"Picture 4, at {times_s[3]:.2f} s:"
    assert max(decode_jpeg(images[0].jpeg).shape) == 320


def test_portrait_images_keep_their_shape_but_in_the_reference():
    if not PORTRAIT.exists():
        pytest.skip(NO_DATA)
    info = probe_video(str(PORTRAIT))
    (image, *_), _ = read_images(str(PORTRAIT), info, 2, 30.0, EvenSampler(FrameSettings()))
    height, width = decode_jpeg(image.jpeg).shape[:2]
    assert width / height == pytest.approx(info.display_width / info.display_height, abs=0.01)
    assert height > width
    (squeezed, *_), _ = read_images(str(PORTRAIT), info, 2, 30.0, SpatialVidSampler())
    assert decode_jpeg(squeezed.jpeg).shape[:2] == (360, 640)
