"""Dissolves and fades: stretches of video that are a linear blend of their two ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]

# In looked-at frames; frames closer than MIN_STEP_S are skipped, so that a window lasts at least 0.25 s.
WINDOW_LENGTHS = (8, 12, 18, 26, 38, 54)
MIN_STEP_S = 0.03
SMALL_SIZE = (32, 18)
DONE_FACTOR = 0.95
PROBES = (0.25, 0.5, 0.75)
MIN_DISTANCE = 9.0
MAX_RESIDUAL = 0.48
MAX_BEND = 0.22
# A dissolve of still shots is a good blend by itself. With motion much is left unexplained, but pictures that
# have nothing to do with each other average out: the spread of luma dips in the middle.
MIN_QUALITY_STILL = 0.87
MIN_QUALITY_MOVING = 0.52
MAX_SPREAD_DIP = 0.88
MIN_QUALITY_FADE = 0.6
MAX_LIKENESS = 0.6
MAX_SHIFT = 3
MIN_SHIFT_SHARE = 0.6
FLAT_SPREAD = 6.0


@dataclass(frozen=True, slots=True)
class Blend:
    """A stretch whose frames are a blend of its ends: from the last old to the first new frame.

    Attributes:
      start_frame: first frame that the transition touches.
      end_frame: first frame that is fully new.
      quality: 0 to 1: how well the middle is explained and how even it goes.
      starts_flat, ends_flat: whether an end is one colour (black, white), as in a fade.
    """

    start_frame: int
    end_frame: int
    quality: float
    starts_flat: bool
    ends_flat: bool


class BlendFinder:
    """Looks back from each frame for a blend that ends there.

    For pictures A and B at the ends of a window and M between them, the blend factor of M is the
    projection of M - A on B - A. In a dissolve the factors grow evenly from 0 to 1 and little of M is left
    unexplained; camera and object motion leave much. Ends that are the same picture in another
    brightness, or shifted by a few cells, are no transition.
    """

    def __init__(self) -> None:
        self._pictures: deque[Picture] = deque(maxlen=WINDOW_LENGTHS[-1] + 1)
        self._spreads: deque[float] = deque(maxlen=WINDOW_LENGTHS[-1] + 1)
        self._frames: deque[int] = deque(maxlen=WINDOW_LENGTHS[-1] + 1)
        self._last_time_s = -1e9

    @property
    def oldest_frame(self) -> int:
        """First frame that a blend found from now on can touch."""
        return self._frames[0] if self._frames else 0

    def push(self, frame: int, thumbnail: npt.NDArray[np.uint8], time_s: float) -> Blend | None:
        """Takes the next (36, 64, 3) thumbnail; returns the best blend that ends at it, if there is one."""
        if time_s - self._last_time_s < MIN_STEP_S:
            return None
        self._last_time_s = time_s
        small = cv2.resize(thumbnail, SMALL_SIZE, interpolation=cv2.INTER_AREA)
        self._pictures.append(small.astype(np.float32))
        self._spreads.append(float(cv2.meanStdDev(small)[1][0, 0]))
        self._frames.append(frame)
        best: Blend | None = None
        for length in WINDOW_LENGTHS:
            if length >= len(self._pictures):
                break
            blend = self._judge(length)
            if blend and (best is None or blend.quality > best.quality):
                best = blend
        return best

    def _judge(self, length: int) -> Blend | None:
        pictures = self._pictures
        last = len(pictures) - 1
        first, end = pictures[last - length], pictures[last]
        distance = cv2.norm(end, first, cv2.NORM_L1) / end.size
        if distance < MIN_DISTANCE:
            return None
        change = end - first
        energy = float((change * change).sum())
        bend = residual = 0.0
        for probe in PROBES:
            step = pictures[last - length + round(probe * length)] - first
            factor = float((step * change).sum()) / energy
            bend = max(bend, abs(factor - probe))
            if bend > MAX_BEND:
                return None
            residual = max(residual, float(np.abs(step - np.float32(factor) * change).mean()) / distance)
            if residual > MAX_RESIDUAL:
                return None
        starts_flat, ends_flat = _is_flat(first), _is_flat(end)
        if starts_flat and ends_flat:
            return None
        if not (starts_flat or ends_flat) and _is_same_scene(first, end, distance):
            return None
        quality = (1 - residual) * (1 - bend)
        if not self._is_transition(length, quality, starts_flat or ends_flat):
            return None
        touched, done = self._extent(length, first, change, energy)
        return Blend(touched, done, quality, starts_flat, ends_flat)

    def _is_transition(self, length: int, quality: float, is_fade: bool) -> bool:
        if quality >= MIN_QUALITY_STILL:
            return True
        if is_fade:
            return quality >= MIN_QUALITY_FADE
        spreads = self._spreads
        last = len(spreads) - 1
        middle = [spreads[last - length + length // 2 + k] for k in (-1, 0, 1)]
        ends = min(spreads[last - length], spreads[last])
        return quality >= MIN_QUALITY_MOVING and sum(middle) / len(middle) <= MAX_SPREAD_DIP * ends

    def _extent(self, length: int, first: Picture, change: Picture, energy: float) -> tuple[int, int]:
        """First frame inside a window that the blend touches, and first one that is fully new."""
        window = range(len(self._pictures) - 1 - length, len(self._pictures))
        factors = [float(((self._pictures[i] - first) * change).sum()) / energy for i in window]
        touched = next((k for k, f in enumerate(factors) if f > 1 - DONE_FACTOR), length)
        done = next((k for k, f in enumerate(factors) if f >= DONE_FACTOR), length)
        return self._frames[window[min(touched, done)]], self._frames[window[done]]


def _is_flat(picture: Picture) -> bool:
    """Whether a picture is nearly one colour, a small part (a logo) left aside."""
    luma = picture[..., 0]
    return float(np.percentile(luma, 92) - np.percentile(luma, 8)) < FLAT_SPREAD


def _is_same_scene(first: Picture, end: Picture, distance: float) -> bool:
    """Whether two pictures show one scene: alike up to brightness and contrast, or shifted."""
    a, b = first[..., 0] - first[..., 0].mean(), end[..., 0] - end[..., 0].mean()
    likeness = float((a * b).sum()) / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6)
    if likeness > MAX_LIKENESS:
        return True
    height, width = a.shape
    best = distance
    for dy in range(-MAX_SHIFT, MAX_SHIFT + 1):
        for dx in range(-MAX_SHIFT, MAX_SHIFT + 1):
            p = first[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            q = end[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            best = min(best, float(np.abs(p - q).mean()))
    return best < MIN_SHIFT_SHARE * distance
