"""Where a reconstruction starts: a pair of frames with enough parallax, and the focal length that fits best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array
from models.sfm.mapping import MIN_COMMON_POINTS, Mapper
from models.sfm.reconstruction import USUAL_FOCAL
from models.sfm.rotation import rotations_between
from models.sfm.tracks import Tracks

# Focal lengths tried, in units of the longer side: horizontal fields of view of 100 to 25 degrees.
FOCAL_TRIALS = (0.45, 0.6, 0.8, 1.05, 1.45, 2.1)
USUAL_PULL = 0.01
ENOUGH_PARALLAX_PX = 25.0
MIN_PARALLAX_PX = 1.5
WINDOW_FRAMES = 6
MAX_SPAN = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two frames to start from.

    Attributes:
      first, second: frames, first < second.
      parallax_px: median distance that is left of the motion of common points after the best rotation.
      num_common: points that both see.
    """

    first: int
    second: int
    parallax_px: float
    num_common: int

    @property
    def score(self) -> float:
        """How good a start this is."""
        return min(self.parallax_px, ENOUGH_PARALLAX_PX) * np.sqrt(self.num_common)


def best_pairs(tracks: Tracks, intrinsics_px: Float64Array, count: int) -> list[Pair]:
    """The best starts in different parts of the clip, best first; none if no pair has parallax."""
    seen = tracks.is_seen
    num_frames = len(seen)
    pairs: list[Pair] = []
    for first in range(0, num_frames - 1, max(1, num_frames // 12)):
        best: Pair | None = None
        num_common = (seen[first + 1 : first + MAX_SPAN] & seen[first]).sum(axis=1)
        span = int(np.append(num_common < 2 * MIN_COMMON_POINTS, True).argmax())
        if not span:
            continue
        points = tracks.of_pairs(np.full(span, first), first + 1 + np.arange(span))
        _, errors = rotations_between(*points, intrinsics_px)
        for later, error in enumerate(errors):
            shared = int(num_common[later])
            pair = Pair(first, first + 1 + later, float(np.median(error[:shared])), shared)
            if pair.parallax_px >= MIN_PARALLAX_PX and (best is None or pair.score > best.score):
                best = pair
        if best:
            pairs.append(best)
    return sorted(pairs, key=lambda p: -p.score)[:count]


def start_mapping(
    tracks: Tracks, pairs: list[Pair], trials: list[Float64Array], refine_focal: bool, num_threads: int
) -> Mapper | None:
    """The best small reconstruction around a pair of frames, over pairs and intrinsics; None if all fail.

    Args:
      trials: intrinsics to try, (4,) each.
      refine_focal: whether the focal length of each trial is adjusted too.
    """
    best: Mapper | None = None
    best_score = -np.inf
    for pair in pairs:
        for intrinsics in trials:
            mapper = _small_map(tracks, pair, intrinsics, refine_focal, num_threads)
            if mapper is None:
                continue
            # Where parallax is small all focal lengths fit alike: then the usual ones count more.
            off = math.log(mapper.intrinsics_px[0] / (USUAL_FOCAL * 2 * mapper.intrinsics_px[2]))
            score = mapper.fit_score() * math.exp(-USUAL_PULL * off**2)
            if score > best_score:
                best, best_score = mapper, score
    return best


def _small_map(
    tracks: Tracks, pair: Pair, intrinsics: Float64Array, refine_focal: bool, num_threads: int
) -> Mapper | None:
    mapper = Mapper(tracks, intrinsics, num_threads)
    if mapper.start(pair.first, pair.second) < MIN_COMMON_POINTS // 2:
        return None
    mapper.adjust(iterations=8)
    between = np.unique(np.linspace(pair.first, pair.second, WINDOW_FRAMES).round().astype(int))[1:-1]
    for frame in between.tolist():
        mapper.add(frame)
    mapper.adjust(iterations=8, focal_too=refine_focal)
    mapper.drop_outliers()
    mapper.adjust(iterations=8, focal_too=refine_focal)
    return mapper
