"""What the tests of this room compare decoded videos by."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from core.time import FrameSpan
from media.decode import DecodedFrame, VideoReader, planes

Stamp = tuple[int, int, int, int]  # index, pts, duration, checksum of the image


def stamp_of(decoded: DecodedFrame) -> Stamp:
    luma = planes(decoded.frame).luma()
    return decoded.index, decoded.pts, decoded.duration, zlib.crc32(luma[::5].tobytes())


def read_all(path: str, **how: Any) -> tuple[list[Stamp], Fraction, int]:
    """Stamps of all frames, the time base and the number of repaired timestamps."""
    with VideoReader(path, **how) as reader:
        return [stamp_of(d) for d in reader.frames()], reader.time_base, reader.timestamp_repairs


def span_of(stamps: Sequence[Stamp], start: int, end: int, time_base: Fraction) -> FrameSpan:
    end_pts = stamps[end][1] if end < len(stamps) else stamps[-1][1] + stamps[-1][2]
    return FrameSpan(start_frame=start, end_frame=end, start_pts=stamps[start][1], end_pts=end_pts, time_base=time_base)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(99 if error == 0 else 10 * np.log10(255**2 / error))


def gray(image: np.ndarray) -> np.ndarray:
    """Mean of the colors: what 4:2:0 does not blur."""
    return image.astype(np.float64).mean(axis=2)
