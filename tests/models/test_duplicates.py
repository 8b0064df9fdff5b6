from __future__ import annotations

import cv2
import numpy as np
import pytest

from media.decode import VideoReader
from media.images import decode_jpeg, encode_jpeg, sample_image
from models.duplicates import HASH_BITS, DuplicateSettings, first_near_duplicates, lsh_keys, perceptual_hash
from tests.support.paths import EXAMPLES

pytestmark = pytest.mark.slow

MAX = DuplicateSettings().max_distance


def distance(a, b):
    return np.bitwise_count(np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).sum() / HASH_BITS


def images():
    found = []
    for video in sorted(EXAMPLES.glob("*.mp4")):
        with VideoReader(str(video)) as reader:
            found += [sample_image(f.frame, 640, 360) for f in reader.frames() if f.index == 20]
    return found


COPIES = {
    "smaller": lambda rgb: cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "poorer": lambda rgb: decode_jpeg(encode_jpeg(rgb, 20)),
    "brighter": lambda rgb: np.clip(rgb * 1.15 + 5, 0, 255).astype(np.uint8),
    "another shape": lambda rgb: cv2.resize(rgb, (300, 300), interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_are_near_and_other_films_are_far(copy):
    originals = [perceptual_hash(rgb) for rgb in images()]
    copies = [perceptual_hash(copy(rgb)) for rgb in images()]
    for i, original in enumerate(originals):
        for j, other in enumerate(copies):
            if i == j:
                assert distance(original, other) <= MAX
                assert set(lsh_keys(original)) & set(lsh_keys(other))
            else:
                assert distance(original, other) > 3 * MAX


def test_flat_images_have_no_hash():
    assert perceptual_hash(np.full((90, 160, 3), 16, np.uint8)) is None


def random_hash(rng):
    return rng.integers(0, 256, HASH_BITS // 8, dtype=np.uint8).tobytes()


def flipped(image_hash, bits):
    array = np.unpackbits(np.frombuffer(image_hash, np.uint8))
    array[:bits] ^= 1
    return np.packbits(array).tobytes()


def test_the_first_near_clip_is_named_whatever_the_order_of_images():
    rng = np.random.default_rng(0)
    a, b, c = (random_hash(rng) for _ in range(3))
    clips = [
        [a, b, c],
        [random_hash(rng)],
        [flipped(c, 20), b, a],
        [flipped(a, 40)],
        [b, random_hash(rng), random_hash(rng)],
    ]
    # The fourth is too far off; the fifth shares one image of three only.
    assert first_near_duplicates(clips, MAX) == [0, 1, 0, 3, 4]
    assert first_near_duplicates([], MAX) == []


def test_a_part_is_no_duplicate_of_the_whole():
    rng = np.random.default_rng(1)
    a, b = random_hash(rng), random_hash(rng)
    assert first_near_duplicates([[a, b], [a]], MAX) == [0, 1]
