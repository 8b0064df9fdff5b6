"""Detection of gradual transitions: dissolves and fades, linear blends of the frames at their ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from core.arrays import UInt8Array
from native.thumbnails import BlendSearch

# In sampled frames; frames closer than MIN_STEP_S are skipped, so that a window lasts at least 0.25 s.
WINDOW_LENGTHS = (8, 12, 18, 26, 38, 54)
MIN_STEP_S = 0.03
SMALL_SIZE = (32, 18)
DONE_FACTOR = 0.95
PROBES = (0.25, 0.5, 0.75)
MIN_DISTANCE = 9.0
MAX_RESIDUAL = 0.48
MAX_BEND = 0.22
# A dissolve between still shots has a small residual. With motion the residual is large, but unrelated frames
# average out: the standard deviation of luma dips in the middle.
MIN_QUALITY_STILL = 0.87
MIN_QUALITY_MOVING = 0.52
MAX_SPREAD_DIP = 0.88
MIN_QUALITY_FADE = 0.6
MAX_LIKENESS = 0.6
MAX_SHIFT = 3
MIN_SHIFT_SHARE = 0.6
FLAT_SPREAD = 6.0


@dataclass(frozen=True, slots=True)
class GradualTransition:
    """A gradual transition.

    From the last frame of the old shot to the first of the new one.

    Attributes:
      start_frame: first frame of the transition.
      end_frame: first frame of the new shot.
      quality: 0 to 1, from the residual of the blend and its linearity over time.
      starts_flat, ends_flat: whether an end is a uniform color (black, white), as in a fade.
    """

    start_frame: int
    end_frame: int
    quality: float
    starts_flat: bool
    ends_flat: bool


class GradualTransitionDetector:
    """Tests at each frame whether a gradual transition ends there.

    For frames A and B at the ends of a window and M between them, the blend factor of M is the projection of M - A
    on B - A. In a dissolve the factors grow linearly from 0 to 1 with a small residual; camera and object motion leave
    a large one. Ends that show the same scene, at another brightness or slightly shifted, are no transition.
    """

    def __init__(self) -> None:
        length = WINDOW_LENGTHS[-1] + 1
        self._search = BlendSearch(
            WINDOW_LENGTHS,
            PROBES,
            min_distance=MIN_DISTANCE,
            max_nonlinearity=MAX_BEND,
            max_residual=MAX_RESIDUAL,
            min_quality=MIN_QUALITY_MOVING,
        )
        self._thumbnails: deque[UInt8Array] = deque(maxlen=length)
        self._frames: deque[int] = deque(maxlen=length)
        self._last_time_s = -1e9

    @property
    def oldest_frame(self) -> int:
        """First frame that a later transition can contain."""
        return self._frames[0] if self._frames else 0

    def push(self, frame: int, thumbnail: UInt8Array, time_s: float) -> GradualTransition | None:
        """Takes the next thumbnail; returns the best transition that ends there.

        The thumbnail is (36, 64, 3). None without a transition.
        """
        if time_s - self._last_time_s < MIN_STEP_S:
            return None
        self._last_time_s = time_s
        self._thumbnails.append(thumbnail)
        self._frames.append(frame)
        for candidate in self._search.push(thumbnail):
            if found := self._validate(*candidate):
                return found
        return None

    def _small(self, back: int) -> UInt8Array:
        """An earlier thumbnail at half its size."""
        thumbnail = self._thumbnails[-1 - back]
        return np.asarray(cv2.resize(thumbnail, SMALL_SIZE, interpolation=cv2.INTER_AREA), np.uint8)

    def _validate(self, quality: float, length: int, distance: float) -> GradualTransition | None:
        """The transition in a window with a good blend, or None."""
        first, end = self._small(length), self._small(0)
        starts_flat, ends_flat = _is_flat(first), _is_flat(end)
        is_fade = starts_flat or ends_flat
        if (starts_flat and ends_flat) or not self._is_transition(length, quality, is_fade):
            return None
        if not is_fade and _is_same_scene(first, end, distance):
            return None
        touched, done = self._extent(length)
        return GradualTransition(touched, done, quality, starts_flat, ends_flat)

    def _is_transition(self, length: int, quality: float, is_fade: bool) -> bool:
        if quality >= MIN_QUALITY_STILL:
            return True
        if is_fade:
            return quality >= MIN_QUALITY_FADE
        middle = [_luma_spread(self._small(length - length // 2 - k)) for k in (-1, 0, 1)]
        ends = min(_luma_spread(self._small(length)), _luma_spread(self._small(0)))
        return sum(middle) / len(middle) <= MAX_SPREAD_DIP * ends

    def _extent(self, length: int) -> tuple[int, int]:
        """First frame of the transition in a window, and first frame of the new shot."""
        factors = self._search.factors(length)
        first = len(self._frames) - 1 - length
        touched = next((k for k, f in enumerate(factors) if f > 1 - DONE_FACTOR), length)
        done = next((k for k, f in enumerate(factors) if f >= DONE_FACTOR), length)
        return self._frames[first + min(touched, done)], self._frames[first + done]


def _luma_spread(small: UInt8Array) -> float:
    """Standard deviation of luma."""
    return float(cv2.meanStdDev(small)[1][0, 0])


def _is_flat(small: UInt8Array) -> bool:
    """Whether luma is nearly uniform, ignoring a small part such as a logo."""
    luma = small[..., 0].reshape(-1)
    low, high = round(0.08 * luma.size), round(0.92 * luma.size)
    ordered = np.partition(luma, (low, high))
    return int(ordered[high]) - int(ordered[low]) < FLAT_SPREAD


def _is_same_scene(first: UInt8Array, end: UInt8Array, distance: float) -> bool:
    """Whether two frames show one scene: equal up to brightness and contrast (NCC), or shifted."""
    a, b = first[..., 0].astype(np.float32), end[..., 0].astype(np.float32)
    if float(cv2.matchTemplate(a, b, cv2.TM_CCOEFF_NORMED)[0, 0]) > MAX_LIKENESS:
        return True
    height, width = a.shape
    limit = MIN_SHIFT_SHARE * distance
    for dy in range(-MAX_SHIFT, MAX_SHIFT + 1):
        for dx in range(-MAX_SHIFT, MAX_SHIFT + 1):
            p = first[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            q = end[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            if cv2.norm(p, q, cv2.NORM_L1) / p.size < limit:
                return True
    return False
