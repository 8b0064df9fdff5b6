"""The camera's motion as a captioner needs it: per stretch of time, in the current camera's axes, in plain units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array
from models.captions.motion_labels.steps import MotionSteps
from models.captions.motion_labels.vocabulary import STAY

TRENDS = {
    "Dolly In": "forward translate",
    "Dolly Out": "backward translate",
    "Truck Left": "left translate",
    "Truck Right": "right translate",
    "Pedestal Up": "upward translate",
    "Pedestal Down": "downward translate",
    "Pan Left": "pan left",
    "Pan Right": "pan right",
    "Tilt Up": "tilt up",
    "Tilt Down": "tilt down",
    "Roll CW": "roll clockwise",
    "Roll CCW": "roll counter-clockwise",
    STAY: "static viewpoint",
}
TAGS = {
    "Dolly In": "forward",
    "Dolly Out": "backward",
    "Truck Left": "left",
    "Truck Right": "right",
    "Pedestal Up": "up",
    "Pedestal Down": "down",
}
STATIONARY = "stationary"
# A movement is a trend of the clip when it lasts for at least this share of it; the longest are named.
TREND_SHARE = 0.25
MAX_TRENDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The motion over a stretch of time.

    Attributes:
      start_s, end_s: seconds since the clip's first frame.
      labels: motion words that hold in it, those that last longest first; empty where the camera has no poses.
      moved: forward, right, down in scene depths, then to the right, up, clockwise in degrees, each summed
        over steps in the axes of the camera at that moment.
    """

    start_s: float
    end_s: float
    labels: tuple[str, ...]
    moved: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPath:
    """The camera's motion through a clip, or through the part of it with poses.

    Attributes:
      steps: motion between neighboring poses.
      words: (n - 1) motion words from each pose to the next.
      has_translation: false when the camera only turns, or stands.
      dist_level: 0 to 4, SpatialVID's class of the path's length; None without translation.
      turns: turns of the path; None without translation.
    """

    steps: MotionSteps
    words: tuple[tuple[str, ...], ...]
    has_translation: bool
    dist_level: int | None
    turns: int | None

    def between(self, start_s: float, end_s: float) -> Stretch:
        """The motion of a stretch of time; steps that reach into it count by their share in it.

        What is told ends where the poses do, unless there are none at all.
        """
        shares = self._shares(start_s, end_s)
        if shares.any():
            start_s, end_s = max(start_s, float(self.steps.times_s[0])), min(end_s, float(self.steps.times_s[-1]))
        moved = shares @ self.steps.moved
        lasting = _durations(self.words, shares * self.steps.durations_s)
        return Stretch(start_s=start_s, end_s=end_s, labels=tuple(lasting), moved=tuple(float(v) for v in moved))

    def trends(self) -> tuple[str, ...]:
        """Up to three main movements, the longest first; empty with fewer than two poses."""
        total = float(self.steps.durations_s.sum())
        lasting = [w for w, t in _durations(self.words, self.steps.durations_s).items() if t >= TREND_SHARE * total]
        return tuple(TRENDS[word] for word in lasting[:MAX_TRENDS])

    def tags(self) -> tuple[str, ...]:
        """Directions in which the camera travels for long, the longest first; "stationary" if there is none."""
        total = float(self.steps.durations_s.sum())
        lasting = _durations(self.words, self.steps.durations_s)
        return tuple(TAGS[w] for w, t in lasting.items() if w in TAGS and t >= TREND_SHARE * total) or (STATIONARY,)

    def totals(self) -> Stretch:
        """The motion of the whole path."""
        return self.between(float(self.steps.times_s[0]), float(self.steps.times_s[-1]))

    def _shares(self, start_s: float, end_s: float) -> Float64Array:
        """(n - 1,) share of each step that lies in a stretch of time."""
        starts, ends = self.steps.times_s[:-1], self.steps.times_s[1:]
        inside = np.minimum(ends, end_s) - np.maximum(starts, start_s)
        return np.clip(inside / (ends - starts), 0.0, 1.0)


def spread_words(instructions: Mapping[str, Sequence[str]], num_poses: int) -> tuple[tuple[str, ...], ...]:
    """The words of each step between poses, from the stretches of an instructions.json.

    Raises:
      ValueError: for a key that is no "<first>-><end>".
    """
    words: list[tuple[str, ...]] = [(STAY,)] * max(0, num_poses - 1)
    for key, labels in instructions.items():
        start, _, end = key.partition("->")
        for index in range(int(start), min(int(end), len(words))):
            words[index] = tuple(labels)
    return tuple(words)


def _durations(words: Sequence[tuple[str, ...]], durations_s: Float64Array) -> dict[str, float]:
    """Seconds that each word holds, the longest first; words that hold for no time are left out."""
    lasting: dict[str, float] = {}
    for labels, duration in zip(words, durations_s, strict=True):
        for word in labels:
            lasting[word] = lasting.get(word, 0.0) + float(duration)
    return {w: t for w, t in sorted(lasting.items(), key=lambda item: (-round(item[1], 6), item[0])) if t > 1e-9}
