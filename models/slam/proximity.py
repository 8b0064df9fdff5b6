"""Proximity edges of DROID-SLAM: neighbors in time, then the closest pairs with non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array, Int64Array

MAX_DISTANCE_PX = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProximityOptions:
    """Selection of edges.

    Attributes:
      radius: keyframes up to radius + 1 apart always have an edge.
      suppression: largest radius of non-maximum suppression, in keyframes.
      max_distance_px: largest frame distance of an edge.
      beta: weight of the full flow in the distance, see `geometry.frame_distance`.
    """

    radius: int = 2
    suppression: int
    max_distance_px: float
    beta: float = 0.3


def candidate_pairs(count: int, first: int, first_partner: int, radius: int) -> Int64Array:
    """(n, 2) candidate pairs i, j of keyframe indices.

    i from `first`, j from `first_partner` to i - radius.
    """
    i, j = np.meshgrid(np.arange(first, count), np.arange(first_partner, count), indexing="ij")
    far = j <= i - radius
    return np.stack([i[far], j[far]], 1)


def select_edges(
    pairs: Int64Array,
    distance_px: Float32Array,
    existing: Iterable[tuple[int, int]],
    count: int,
    first: int,
    max_edges: float,
    options: ProximityOptions,
) -> Int64Array:
    """(n, 2) edges i, j in both directions.

    Those between neighbors in time may exist already.

    Args:
      pairs: from `candidate_pairs`.
      distance_px: of the pairs.
      existing: edges of the clip; they suppress new ones near them.
      count, first: number of keyframes, and the first one that gets edges.
      max_edges: selection stops above this number of edges.
      options: of the selection.
    """
    suppressed = np.zeros((count, count), bool)
    for i, j in existing:
        _suppress(suppressed, i, j, options.suppression)
    edges: list[tuple[int, int]] = []
    for i in range(first, count):
        for j in range(max(i - options.radius - 1, 0), i):
            edges += [(i, j), (j, i)]
            suppressed[i, j] = True
    near = distance_px <= min(options.max_distance_px, MAX_DISTANCE_PX)
    pairs, distance_px = pairs[near], distance_px[near]
    for i, j in pairs[np.argsort(distance_px, kind="stable")]:
        if len(edges) > max_edges:
            break
        if not suppressed[i, j]:
            edges += [(i, j), (j, i)]
            _suppress(suppressed, i, j, options.suppression)
    return np.array(edges, np.int64).reshape(-1, 2)


def _suppress(suppressed: BoolArray, i: int, j: int, suppression: int) -> None:
    radius = max(min(abs(i - j) - 2, suppression), 0)
    for a in range(-radius, radius + 1):
        for b in range(-(radius - abs(a)), radius - abs(a) + 1):
            if 0 <= i + a < len(suppressed) and 0 <= j + b < len(suppressed):
                suppressed[i + a, j + b] = True
