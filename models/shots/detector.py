"""Shot boundaries from thumbnails, while the video is decoded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from models.shots.config import ShotSettings

LOOKAHEAD_FRAMES = 6
MIN_CHANGE = 7.0
MIN_RATIO = 2.2


class BoundaryKind(StrEnum):
    """How one shot gives way to the next."""

    CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A boundary between two shots: first frame touched, first frame fully of the new shot."""

    start_frame: int
    frame: int
    kind: BoundaryKind
    confidence: float


class ShotDetector:
    """Finds hard cuts: a change that stands out among its neighbours' and does not go back (a flash)."""

    def __init__(self, settings: ShotSettings) -> None:
        self._settings = settings
        self._count = 0
        self._thumbs: deque[npt.NDArray[np.int16]] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)
        self._changes: deque[float] = deque(maxlen=2 * LOOKAHEAD_FRAMES + 2)

    def push(self, thumbnail: npt.NDArray[np.uint8], time_s: float) -> list[Boundary]:
        """Takes the next frame's (36, 64, 3) YUV thumbnail; returns newly confirmed boundaries."""
        thumb = thumbnail.astype(np.int16)
        change = float(np.abs(thumb - self._thumbs[-1]).mean()) if self._thumbs else 0.0
        self._thumbs.append(thumb)
        self._changes.append(change)
        self._count += 1
        return self._decide(len(self._changes) - 1 - LOOKAHEAD_FRAMES)

    def finish(self) -> list[Boundary]:
        """Decides the last frames."""
        first = max(len(self._changes) - LOOKAHEAD_FRAMES, 0)
        return [b for at in range(first, len(self._changes)) for b in self._decide(at)]

    @property
    def settled_frames(self) -> int:
        """Every boundary before this frame has been returned."""
        return max(self._count - LOOKAHEAD_FRAMES, 0)

    def _decide(self, at: int) -> list[Boundary]:
        changes, thumbs = list(self._changes), self._thumbs
        if at < 1 or changes[at] < MIN_CHANGE:
            return []
        around = changes[max(at - 4, 1) : at] + changes[at + 1 : at + 5]
        ratio = changes[at] / (max(around, default=0.0) + 1.0)
        reach = range(1, 4)
        across = [
            float(np.abs(thumbs[at + j] - thumbs[at - 1 - j]).mean())
            for j in reach
            if at + j < len(thumbs) and at - 1 - j >= 0
        ]
        if ratio < MIN_RATIO or min(across, default=changes[at]) < 0.6 * changes[at]:
            return []
        frame = self._count - len(changes) + at
        confidence = min(1.0, ratio / (2 * MIN_RATIO))
        return [Boundary(start_frame=frame, frame=frame, kind=BoundaryKind.CUT, confidence=confidence)]
