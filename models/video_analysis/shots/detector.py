"""Streaming shot boundary detection on thumbnails: hard cuts, dissolves and fades."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.arrays import UInt8Array
from models.video_analysis.shots.gradual import GradualTransition, GradualTransitionDetector
from models.video_analysis.shots.matching import motion_compensated_difference
from models.video_analysis.shots.settings import ShotSettings
from native.thumbnails import mean_change

LOOKAHEAD_FRAMES = 6
NEIGHBOR_WEIGHTS = (1.0, 0.85, 0.65, 0.5)
NEIGHBOR_FLOOR = 1.0
AMBIGUOUS_RATIO = 1.15
COMPENSATED_RATIO = 1.4
FLASH_REACH = 5
MIN_CHANGE_ACROSS = 0.6
FULL_CONFIDENCE_RATIO = 2.0
MAX_GROUP_FRAMES = 300


class BoundaryKind(StrEnum):
    """Kind of the transition between two shots."""

    CUT = "cut"
    DISSOLVE = "dissolve"
    FADE_IN = "fade_in"
    FADE_OUT = "fade_out"
    GRADUAL = "gradual"
    """A gradual transition of unknown kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A boundary between two shots.

    Attributes:
      start_frame: first frame of the transition; equal to `frame` for a hard cut.
      frame: first frame of the new shot after the transition.
      confidence: 0 to 1.
    """

    start_frame: int
    frame: int
    kind: BoundaryKind
    confidence: float


class ShotDetector:
    """Detects shot boundaries in a stream of thumbnails, in bounded memory.

    A hard cut is a frame difference that exceeds its neighbors' by a ratio (an adaptive threshold) and is not a flash.
    Dissolves and fades come from `GradualTransitionDetector`. A decision depends on a bounded number of frames around
    the boundary.
    """

    def __init__(self, settings: ShotSettings) -> None:
        self._settings = settings
        self._count = 0
        self._thumbnails: deque[UInt8Array] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)
        self._changes: deque[float] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)
        self._gradual = GradualTransitionDetector()
        self._best: GradualTransition | None = None
        self._pending: list[Boundary] = []

    def push(self, thumbnail: UInt8Array, time_s: float) -> list[Boundary]:
        """Takes the next frame's (36, 64, 3) YUV thumbnail and its time in seconds.

        Returns:
          Newly final boundaries, in order.
        """
        last = self._thumbnails[-1] if self._thumbnails else thumbnail
        self._thumbnails.append(thumbnail)
        self._changes.append(mean_change(thumbnail, last))
        gradual = self._gradual.push(self._count, thumbnail, time_s)
        self._count += 1
        self._test_cut(len(self._changes) - 1 - LOOKAHEAD_FRAMES)
        if gradual:
            self._keep_best(gradual)
        if self._best and self._best.end_frame < self._gradual.oldest_frame:
            self._confirm_best()
        return self._emit(self.num_final_frames)

    def finish(self) -> list[Boundary]:
        """The remaining boundaries. Call after the last frame."""
        for at in range(max(len(self._changes) - LOOKAHEAD_FRAMES, 0), len(self._changes)):
            self._test_cut(at)
        self._confirm_best()
        return self._emit(self._count)

    @property
    def num_final_frames(self) -> int:
        """Number of frames from the start whose boundaries have all been returned."""
        open_from = self._best.start_frame if self._best else self._gradual.oldest_frame
        return max(min(self._count - LOOKAHEAD_FRAMES, open_from), 0)

    def _test_cut(self, at: int) -> None:
        settings, changes = self._settings, self._changes
        if at < 1 or changes[at] < settings.min_change:
            return
        neighbors = [
            weight * changes[side]
            for reach, weight in enumerate(NEIGHBOR_WEIGHTS, start=1)
            for side in (at - reach, at + reach)
            if 1 <= side < len(changes)
        ]
        ratio = changes[at] / (max(neighbors, default=0.0) + NEIGHBOR_FLOOR)
        if ratio < settings.min_ratio:
            if ratio < AMBIGUOUS_RATIO:
                return
            ratio = self._compensated_ratio(at) / COMPENSATED_RATIO * settings.min_ratio
        if ratio < settings.min_ratio or self._is_flash(at):
            return
        confidence = min(1.0, ratio / (FULL_CONFIDENCE_RATIO * settings.min_ratio))
        frame = self._count - len(changes) + at
        self._pending.append(Boundary(start_frame=frame, frame=frame, kind=BoundaryKind.CUT, confidence=confidence))

    def _compensated_ratio(self, at: int) -> float:
        """Ratio of motion-compensated differences, for cuts next to fast motion."""
        thumbnails = self._thumbnails
        change = motion_compensated_difference(thumbnails[at - 1], thumbnails[at])
        if change < self._settings.min_change:
            return 0.0
        neighbors = [
            weight * motion_compensated_difference(thumbnails[side - 1], thumbnails[side])
            for reach, weight in enumerate(NEIGHBOR_WEIGHTS[:2], start=1)
            for side in (at - reach, at + reach)
            if 1 <= side < len(thumbnails)
        ]
        return change / (max(neighbors, default=0.0) + NEIGHBOR_FLOOR)

    def _is_flash(self, at: int) -> bool:
        """Whether frames after the change resemble frames before it."""
        thumbnails = self._thumbnails
        across = [
            mean_change(thumbnails[at + reach], thumbnails[at - 1 - reach])
            for reach in range(1, FLASH_REACH + 1)
            if at + reach < len(thumbnails) and at - 1 - reach >= 0
        ]
        return min(across, default=np.inf) < MIN_CHANGE_ACROSS * self._changes[at]

    def _keep_best(self, found: GradualTransition) -> None:
        """Keeps the best of overlapping gradual transitions."""
        best = self._best
        if best and (found.start_frame > best.end_frame or self._count - best.start_frame > MAX_GROUP_FRAMES):
            self._confirm_best()
            best = None
        if best is None or found.quality > best.quality:
            self._best = found

    def _confirm_best(self) -> None:
        """Makes the best gradual transition a boundary, unless it contains a hard cut."""
        best, self._best = self._best, None
        if best is None:
            return
        if any(best.start_frame - 1 <= b.frame <= best.end_frame + 1 for b in self._pending):
            return
        kind = BoundaryKind.DISSOLVE
        if best.starts_flat or best.ends_flat:
            kind = BoundaryKind.FADE_IN if best.starts_flat else BoundaryKind.FADE_OUT
        self._pending.append(
            Boundary(start_frame=best.start_frame, frame=best.end_frame, kind=kind, confidence=round(best.quality, 6))
        )

    def _emit(self, before_frame: int) -> list[Boundary]:
        if not self._pending:
            return []
        ready = sorted((b for b in self._pending if b.frame < before_frame), key=lambda b: b.frame)
        if ready:
            self._pending = [b for b in self._pending if b.frame >= before_frame]
        return ready
