"""Which keyframes of a clip are joined by edges: near ones in time, then near ones in view, well spread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array, Int64Array

MAX_DISTANCE_PX = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProximityOptions:
    """How edges are chosen.

    Attributes:
      radius: keyframes so many places apart, and one more, are always joined.
      suppression: no two edges within this many places of each other, at most.
      max_distance_px: keyframes further apart are not joined.
      beta: share of the full flow in the distance, see `geometry.frame_distance`.
    """

    radius: int = 2
    suppression: int
    max_distance_px: float
    beta: float = 0.3


def candidates(count: int, first: int, first_partner: int, radius: int) -> Int64Array:
    """(n, 2) pairs i, j of places whose distance matters: i from `first`, j from `first_partner` to i - radius."""
    i, j = np.meshgrid(np.arange(first, count), np.arange(first_partner, count), indexing="ij")
    far = j <= i - radius
    return np.stack([i[far], j[far]], 1)


def choose_edges(
    pairs: Int64Array,
    distance_px: Float32Array,
    existing: Iterable[tuple[int, int]],
    count: int,
    first: int,
    max_edges: float,
    options: ProximityOptions,
) -> Int64Array:
    """(n, 2) edges i, j in both directions; those to neighbors in time are among them though they may exist.

    Args:
      pairs: from `candidates`.
      distance_px: of the pairs.
      existing: edges of the clip; none is made close to them.
      count, first: of keyframes, and the first that gets edges.
      max_edges: no more candidates are taken when there are more edges than that.
      options: see there.
    """
    blocked = np.zeros((count, count), bool)
    for i, j in existing:
        _block(blocked, i, j, options.suppression)
    chosen: list[tuple[int, int]] = []
    for i in range(first, count):
        for j in range(max(i - options.radius - 1, 0), i):
            chosen += [(i, j), (j, i)]
            blocked[i, j] = True
    near = distance_px <= min(options.max_distance_px, MAX_DISTANCE_PX)
    pairs, distance_px = pairs[near], distance_px[near]
    for i, j in pairs[np.argsort(distance_px, kind="stable")]:
        if len(chosen) > max_edges:
            break
        if not blocked[i, j]:
            chosen += [(i, j), (j, i)]
            _block(blocked, i, j, options.suppression)
    return np.array(chosen, np.int64).reshape(-1, 2)


def _block(blocked: BoolArray, i: int, j: int, suppression: int) -> None:
    reach = max(min(abs(i - j) - 2, suppression), 0)
    for a in range(-reach, reach + 1):
        for b in range(-(reach - abs(a)), reach - abs(a) + 1):
            if 0 <= i + a < len(blocked) and 0 <= j + b < len(blocked):
                blocked[i + a, j + b] = True
