"""Near-duplicates by their images: perceptual hashes, the keys under which likely pairs meet, and the comparison."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import Field

from core.arrays import UInt8Array
from core.settings import Settings

HASH_BITS = 256
SIDE_PX, FREQUENCIES = 64, 16
MIN_CONTRAST = 6.0
"""Pictures whose gray levels spread less than this (standard deviation, 0 to 255) have no hash: nothing is in them."""
BANDS, BAND_BITS = 12, 21


class DuplicateSettings(Settings):
    """Finding of clips that show the same, within and across videos."""

    find: bool = Field(True, description="Whether near-duplicates are looked for, by the sample images.")
    max_distance: float = Field(
        0.1,
        ge=0,
        le=0.25,
        description="Largest share of differing hash bits, mean over a clip's images, between near-duplicates. "
        "Copies in another size or quality differ by 0.00 to 0.06, other scenes by 0.3 and more "
        "(benchmarks/duplicates.py).",
    )
    max_bucket: int = Field(
        256, ge=2, le=4096, description="Most different clips that are compared under one key; bounds work and memory."
    )


def perceptual_hash(rgb: UInt8Array) -> bytes | None:
    """256-bit perceptual hash of an (h, w, 3) uint8 image; None if it is too flat to be told from others.

    The signs of its 16x16 lowest DCT frequencies against their median, on the 64x64 gray image (Zauner's
    pHash, with more frequencies). About 0.1 ms plus the shrinking.
    """
    gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    if gray.std() < MIN_CONTRAST:
        return None
    waves = cv2.dct(gray.astype(np.float32))[:FREQUENCIES, :FREQUENCIES].ravel()
    # The first is the mean brightness, which copies change most.
    bits = waves[1:] > np.median(waves[1:])
    return np.packbits(np.append(bits, False)).tobytes()


def lsh_keys(image_hash: bytes) -> list[str]:
    """Keys of a hash: two hashes that differ by a share d have one in common with a chance of 1 - (1 - (1-d)^21)^12.

    With three images a clip that is 0.99998 at d = 0.06 and 0.98 at 0.1. A key has 21 bits, so that among millions
    of images few meet by chance.
    """
    bits = np.unpackbits(np.frombuffer(image_hash, np.uint8))
    # Each band takes every 12th bit, so that all have low frequencies, which are steady, and high ones.
    return [f"{band}:{np.packbits(bits[band::BANDS][:BAND_BITS]).tobytes().hex()}" for band in range(BANDS)]


def first_near_duplicates(clips: Sequence[Sequence[bytes]], max_distance: float) -> list[int]:
    """For each clip the index of the first clip that it is a near-duplicate of; its own if there is none before it.

    The distance of two clips is the mean over the images of one of the share of bits by which the nearest
    image of the other differs, in the direction in which that is larger: neither order nor number of
    images need be the same.

    Args:
      clips: hashes of each clip's images, at least one each.
      max_distance: largest share of differing bits.
    """
    counts = [len(images) for images in clips]
    starts = np.cumsum([0, *counts])[:-1]
    words = np.frombuffer(b"".join(h for images in clips for h in images), np.uint64).reshape(-1, HASH_BITS // 64)
    nearest: list[int] = []
    for index, (start, count) in enumerate(zip(starts, counts, strict=True)):
        own, earlier = words[start : start + count], words[:start]
        found = index
        if index:
            differing = np.bitwise_count(own[:, None] ^ earlier[None]).sum(axis=2) / HASH_BITS
            edges = starts[:index]
            here = np.minimum.reduceat(differing, edges, axis=1).mean(axis=0)
            there = np.add.reduceat(differing.min(axis=0), edges) / counts[:index]
            near = np.flatnonzero(np.maximum(here, there) <= max_distance)
            found = int(near[0]) if len(near) else index
        nearest.append(found)
    return nearest
