"""Initialization of incremental mapping: pair of frames with parallax, and focal length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array
from models.sfm.mapping import MIN_COMMON_POINTS, IncrementalMapper
from models.sfm.reconstruction import PRIOR_FOCAL
from models.sfm.rotation import estimate_rotations
from models.sfm.tracks import Tracks

# Focal lengths to try, in units of the longer side: horizontal fields of view of 100 to 25 degrees.
FOCAL_CANDIDATES = (0.45, 0.6, 0.8, 1.05, 1.45, 2.1)
FOCAL_PRIOR_STRENGTH = 0.01
MAX_SCORED_PARALLAX_PX = 25.0
MIN_PARALLAX_PX = 1.5
WINDOW_FRAMES = 6
MAX_SPAN = 16


@dataclass(frozen=True, slots=True)
class InitialPair:
    """Two frames to initialize from.

    Attributes:
      first, second: frames, first < second.
      parallax_px: median motion of common tracks after rotation is compensated.
      num_common: common tracks.
    """

    first: int
    second: int
    parallax_px: float
    num_common: int

    @property
    def score(self) -> float:
        """Suitability for initialization; higher is better."""
        return min(self.parallax_px, MAX_SCORED_PARALLAX_PX) * np.sqrt(self.num_common)


def find_initial_pairs(tracks: Tracks, intrinsics_px: Float64Array, count: int) -> list[InitialPair]:
    """Best initial pairs in different parts of the clip, best first.

    Empty if no pair has parallax.
    """
    tracked = tracks.is_tracked
    num_frames = len(tracked)
    pairs: list[InitialPair] = []
    for first in range(0, num_frames - 1, max(1, num_frames // 12)):
        best: InitialPair | None = None
        num_common = (tracked[first + 1 : first + MAX_SPAN] & tracked[first]).sum(axis=1)
        span = int(np.append(num_common < 2 * MIN_COMMON_POINTS, True).argmax())
        if not span:
            continue
        matches = tracks.correspondences(np.full(span, first), first + 1 + np.arange(span))
        _, errors = estimate_rotations(*matches, intrinsics_px)
        for offset, error in enumerate(errors):
            shared = int(num_common[offset])
            pair = InitialPair(first, first + 1 + offset, float(np.median(error[:shared])), shared)
            if pair.parallax_px >= MIN_PARALLAX_PX and (best is None or pair.score > best.score):
                best = pair
        if best:
            pairs.append(best)
    return sorted(pairs, key=lambda p: -p.score)[:count]


def initialize_mapper(
    tracks: Tracks, pairs: list[InitialPair], candidates: list[Float64Array], refine_focal: bool, num_threads: int
) -> IncrementalMapper | None:
    """Best reconstruction around an initial pair, over pairs and intrinsics; None if all fail.

    Args:
      candidates: intrinsics to try, (4,) each.
      refine_focal: whether the focal length of each candidate is optimized too.
    """
    best: IncrementalMapper | None = None
    best_score = -np.inf
    for pair in pairs:
        for intrinsics in candidates:
            mapper = _map_around_pair(tracks, pair, intrinsics, refine_focal, num_threads)
            if mapper is None:
                continue
            # With little parallax all focal lengths fit alike: prefer those near the prior.
            log_ratio = math.log(mapper.intrinsics_px[0] / (PRIOR_FOCAL * 2 * mapper.intrinsics_px[2]))
            score = mapper.soft_inlier_count() * math.exp(-FOCAL_PRIOR_STRENGTH * log_ratio**2)
            if score > best_score:
                best, best_score = mapper, score
    return best


def _map_around_pair(
    tracks: Tracks, pair: InitialPair, intrinsics: Float64Array, refine_focal: bool, num_threads: int
) -> IncrementalMapper | None:
    mapper = IncrementalMapper(tracks, intrinsics, num_threads)
    if mapper.register_initial_pair(pair.first, pair.second) < MIN_COMMON_POINTS // 2:
        return None
    mapper.bundle_adjust(iterations=8)
    intermediate = np.unique(np.linspace(pair.first, pair.second, WINDOW_FRAMES).round().astype(int))[1:-1]
    for frame in intermediate.tolist():
        mapper.register_frame(frame)
    mapper.bundle_adjust(iterations=8, optimize_focal=refine_focal)
    mapper.filter_observations()
    mapper.bundle_adjust(iterations=8, optimize_focal=refine_focal)
    return mapper
