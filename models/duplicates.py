"""Near-duplicate clips: perceptual hashes (pHash), LSH banding for candidate pairs, and Hamming distances."""

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
"""Minimum standard deviation of the gray levels (0 to 255) of an image with a hash."""
BANDS, BAND_BITS = 12, 21


class DuplicateSettings(Settings):
    """Detection of near-duplicate clips, within and across videos."""

    find: bool = Field(True, description="Whether to detect near-duplicates by the sample images.")
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
    """256-bit pHash (Zauner 2010) of an RGB image; None if contrast is too low.

    The image is (h, w, 3) uint8.

    The 16x16 lowest DCT frequencies of the 64x64 gray image, each compared with their median (pHash has 8x8 of 32x32).
    About 0.1 ms plus the resizing.
    """
    gray = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    if gray.std() < MIN_CONTRAST:
        return None
    coefficients = cv2.dct(gray.astype(np.float32))[:FREQUENCIES, :FREQUENCIES].ravel()
    # The DC coefficient is left out: brightness changes most between copies.
    bits = coefficients[1:] > np.median(coefficients[1:])
    return np.packbits(np.append(bits, False)).tobytes()


def lsh_keys(image_hash: bytes) -> list[str]:
    """LSH band keys of a hash: 12 bands of 21 bits.

    Hashes with a share d of differing bits have a key in common with probability 1 - (1 - (1-d)^21)^12. With three
    images per clip that is 0.99998 at d = 0.06 and 0.98 at 0.1. With 21 bits few of millions of images collide.
    """
    bits = np.unpackbits(np.frombuffer(image_hash, np.uint8))
    # Each band takes every 12th bit, so that all bands hold stable low frequencies and high ones.
    return [f"{band}:{np.packbits(bits[band::BANDS][:BAND_BITS]).tobytes().hex()}" for band in range(BANDS)]


def first_near_duplicates(clips: Sequence[Sequence[bytes]], max_distance: float) -> list[int]:
    """Index of the first near-duplicate of each clip; its own index without an earlier one.

    The distance of two clips is a symmetric average Hausdorff distance: the mean over the images of one clip of the
    normalized Hamming distance to the nearest image of the other, the larger of both directions. Order and number of
    images may differ.

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
