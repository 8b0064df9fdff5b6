"""Shot boundaries from thumbnails, while the video is decoded: cuts, dissolves and fades."""

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
DOUBTFUL_RATIO = 1.15
COMPENSATED_RATIO = 1.4
FLASH_REACH = 5
MIN_CHANGE_ACROSS = 0.6
FULL_CONFIDENCE_RATIO = 2.0
MAX_GROUP_FRAMES = 300


class BoundaryKind(StrEnum):
    """How one shot gives way to the next."""

    CUT = "cut"
    DISSOLVE = "dissolve"
    FADE_IN = "fade_in"
    FADE_OUT = "fade_out"
    GRADUAL = "gradual"
    """Of a kind that the detector cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A boundary between two shots.

    Attributes:
      start_frame: first frame that the transition touches; equal to `frame` for a cut.
      frame: first frame that is fully of the new shot.
      confidence: 0 to 1.
    """

    start_frame: int
    frame: int
    kind: BoundaryKind
    confidence: float


class ShotDetector:
    """Finds shot boundaries in a stream of thumbnails; memory does not grow with the video.

    A cut is a change between two frames that stands out among its neighbors' and is still there some
    frames later (a flash is not). A gradual boundary is what `GradualTransitionDetector` finds. Decisions depend on a
    bounded stretch of frames around each boundary.
    """

    def __init__(self, settings: ShotSettings) -> None:
        self._settings = settings
        self._count = 0
        self._thumbnails: deque[UInt8Array] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)
        self._changes: deque[float] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)
        self._blends = GradualTransitionDetector()
        self._best: GradualTransition | None = None
        self._waiting: list[Boundary] = []

    def push(self, thumbnail: UInt8Array, time_s: float) -> list[Boundary]:
        """Takes the next frame's (36, 64, 3) YUV thumbnail and its time in seconds.

        Returns:
          Newly confirmed boundaries, in order.
        """
        last = self._thumbnails[-1] if self._thumbnails else thumbnail
        self._thumbnails.append(thumbnail)
        self._changes.append(mean_change(thumbnail, last))
        blend = self._blends.push(self._count, thumbnail, time_s)
        self._count += 1
        self._look_for_cut(len(self._changes) - 1 - LOOKAHEAD_FRAMES)
        if blend:
            self._take_blend(blend)
        if self._best and self._best.end_frame < self._blends.oldest_frame:
            self._settle_blend()
        return self._emit(self.num_final_frames)

    def finish(self) -> list[Boundary]:
        """Decides what is still open and returns the last boundaries."""
        for at in range(max(len(self._changes) - LOOKAHEAD_FRAMES, 0), len(self._changes)):
            self._look_for_cut(at)
        self._settle_blend()
        return self._emit(self._count)

    @property
    def num_final_frames(self) -> int:
        """Every boundary before this frame has been returned."""
        open_from = self._best.start_frame if self._best else self._blends.oldest_frame
        return max(min(self._count - LOOKAHEAD_FRAMES, open_from), 0)

    def _look_for_cut(self, at: int) -> None:
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
            if ratio < DOUBTFUL_RATIO:
                return
            ratio = self._compensated_ratio(at) / COMPENSATED_RATIO * settings.min_ratio
        if ratio < settings.min_ratio or self._goes_back(at):
            return
        confidence = min(1.0, ratio / (FULL_CONFIDENCE_RATIO * settings.min_ratio))
        frame = self._count - len(changes) + at
        self._waiting.append(Boundary(start_frame=frame, frame=frame, kind=BoundaryKind.CUT, confidence=confidence))

    def _compensated_ratio(self, at: int) -> float:
        """As the ratio of changes, but with motion taken out: for cuts from or to fast motion."""
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

    def _goes_back(self, at: int) -> bool:
        """Whether the image some frames later is like the one some frames before: a flash."""
        thumbnails = self._thumbnails
        across = [
            mean_change(thumbnails[at + reach], thumbnails[at - 1 - reach])
            for reach in range(1, FLASH_REACH + 1)
            if at + reach < len(thumbnails) and at - 1 - reach >= 0
        ]
        return min(across, default=np.inf) < MIN_CHANGE_ACROSS * self._changes[at]

    def _take_blend(self, blend: GradualTransition) -> None:
        """Of blends that overlap, the best counts."""
        best = self._best
        if best and (blend.start_frame > best.end_frame or self._count - best.start_frame > MAX_GROUP_FRAMES):
            self._settle_blend()
            best = None
        if best is None or blend.quality > best.quality:
            self._best = blend

    def _settle_blend(self) -> None:
        blend, self._best = self._best, None
        if blend is None:
            return
        if any(blend.start_frame - 1 <= b.frame <= blend.end_frame + 1 for b in self._waiting):
            return
        kind = BoundaryKind.DISSOLVE
        if blend.starts_flat or blend.ends_flat:
            kind = BoundaryKind.FADE_IN if blend.starts_flat else BoundaryKind.FADE_OUT
        self._waiting.append(
            Boundary(
                start_frame=blend.start_frame, frame=blend.end_frame, kind=kind, confidence=round(blend.quality, 6)
            )
        )

    def _emit(self, before_frame: int) -> list[Boundary]:
        if not self._waiting:
            return []
        ready = sorted((b for b in self._waiting if b.frame < before_frame), key=lambda b: b.frame)
        if ready:
            self._waiting = [b for b in self._waiting if b.frame >= before_frame]
        return ready
