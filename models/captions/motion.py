"""Camera motion per time span, in the current camera's axes, for captions."""

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
# A motion label is a trend of the clip when it holds for at least this share of its duration.
TREND_SHARE = 0.25
MAX_TRENDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSpan:
    """Camera motion over a time span.

    Attributes:
      start_s, end_s: seconds since the clip's first frame.
      labels: motion labels that hold in it, the longest first; empty without camera poses.
      motion: forward, right, down in scene depths, then pan right, tilt up, roll clockwise in degrees, each summed
        over steps in the axes of the camera at that moment.
    """

    start_s: float
    end_s: float
    labels: tuple[str, ...]
    motion: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPath:
    """Camera motion through a clip, or through the part of it with camera poses.

    Attributes:
      steps: motion between neighboring poses.
      labels: (n - 1) motion labels of each step.
      has_translation: false for a static or purely rotating camera.
      dist_level: 0 to 4, SpatialVID's class of the path length; None without translation.
      turns: SpatialVID's number of turns of the path; None without translation.
    """

    steps: MotionSteps
    labels: tuple[tuple[str, ...], ...]
    has_translation: bool
    dist_level: int | None
    turns: int | None

    def between(self, start_s: float, end_s: float) -> MotionSpan:
        """Motion over a time span; steps count by their share inside it.

        The span is clipped to the poses, unless it holds none.
        """
        shares = self._shares(start_s, end_s)
        if shares.any():
            start_s, end_s = max(start_s, float(self.steps.times_s[0])), min(end_s, float(self.steps.times_s[-1]))
        motion = tuple(float(v) for v in shares @ self.steps.motion)
        durations = _durations(self.labels, shares * self.steps.durations_s)
        return MotionSpan(start_s=start_s, end_s=end_s, labels=tuple(durations), motion=motion)

    def trends(self) -> tuple[str, ...]:
        """Up to three main motions, the longest first; empty with fewer than two poses."""
        return tuple(TRENDS[label] for label in self._main_labels()[:MAX_TRENDS])

    def tags(self) -> tuple[str, ...]:
        """Main directions of translation, the longest first; "stationary" if there is none."""
        return tuple(TAGS[label] for label in self._main_labels() if label in TAGS) or (STATIONARY,)

    def totals(self) -> MotionSpan:
        """Motion over the whole path."""
        return self.between(float(self.steps.times_s[0]), float(self.steps.times_s[-1]))

    def _main_labels(self) -> list[str]:
        """Labels that hold for at least `TREND_SHARE` of the path's duration, the longest first."""
        total = float(self.steps.durations_s.sum())
        return [w for w, t in _durations(self.labels, self.steps.durations_s).items() if t >= TREND_SHARE * total]

    def _shares(self, start_s: float, end_s: float) -> Float64Array:
        """(n - 1,) share of each step that lies in a time span."""
        starts, ends = self.steps.times_s[:-1], self.steps.times_s[1:]
        inside = np.minimum(ends, end_s) - np.maximum(starts, start_s)
        return np.clip(inside / (ends - starts), 0.0, 1.0)


def expand_instructions(instructions: Mapping[str, Sequence[str]], num_poses: int) -> tuple[tuple[str, ...], ...]:
    """Motion labels of each step between poses, from the segments of an instructions.json.

    Raises:
      ValueError: for a key that is not "<start>-><end>".
    """
    expanded: list[tuple[str, ...]] = [(STAY,)] * max(0, num_poses - 1)
    for key, labels in instructions.items():
        start, _, end = key.partition("->")
        for index in range(int(start), min(int(end), len(expanded))):
            expanded[index] = tuple(labels)
    return tuple(expanded)


def _durations(step_labels: Sequence[tuple[str, ...]], durations_s: Float64Array) -> dict[str, float]:
    """Seconds of each label, the longest first; labels without duration are left out."""
    total: dict[str, float] = {}
    for labels, duration in zip(step_labels, durations_s, strict=True):
        for label in labels:
            total[label] = total.get(label, 0.0) + float(duration)
    return {w: t for w, t in sorted(total.items(), key=lambda item: (-round(item[1], 6), item[0])) if t > 1e-9}
