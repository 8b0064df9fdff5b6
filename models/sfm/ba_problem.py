"""Sparse points and where frames see them, as the arrays that the bundle adjuster takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class PackedPoints:
    """Points and their observations, those of a frame ("anchor") in slots of its own.

    Attributes:
      points: (k,) numbers of the points.
      slots: (k,) anchors and (k,) places in them.
      source, target: (e,) frames of the edges.
      pixels: (n, width, 2) where anchors see their points.
      target_px, weight: (e, width, 2) and (e, width): where the targets see them, and how much that counts, or 0.
      edge: (o,) edge of each observation.
      observed: (o,) frames and (o,) places in `points` of the observations.
    """

    points: Int64Array
    slots: tuple[Int64Array, Int64Array]
    source: Int32Array
    target: Int32Array
    pixels: Float32Array
    target_px: Float32Array
    weight: Float32Array
    edge: Int64Array
    observed: tuple[Int64Array, Int64Array]

    def in_slots(self, values: Float64Array) -> Float64Array:
        """(n, width) of (k,) values of the points; 0 where there is no point."""
        placed = np.zeros(self.pixels.shape[:2])
        placed[self.slots] = values
        return placed


def pack_points(
    position: Float64Array,
    is_used: BoolArray,
    weight: Float32Array,
    anchor: Int64Array,
    is_known: BoolArray,
    frames: BoolArray,
    seen_by: BoolArray,
) -> PackedPoints | None:
    """The known points that a frame of `seen_by` sees, as `frames` see them, edge by edge; None without any.

    Points of an anchor that the same frames see come to lie together: the bundle adjuster skips what none sees.

    Args:
      position, is_used, weight: (n, m, 2), (n, m) and (n, m): where frames see points, if that counts, how much.
      anchor: (m,) the frame of each known point's depth.
      is_known: (m,).
      frames, seen_by: (n,).
    """
    of_interest = is_used[seen_by].any(axis=0)
    points = np.flatnonzero(is_known & of_interest)
    own = anchor[points]
    seen = is_used[:, points] & frames[:, None]
    seen[own, np.arange(len(points))] = False
    is_there = seen.any(axis=0)
    points, seen = points[is_there], seen[:, is_there]
    if not len(points):
        return None
    own = anchor[points]
    first, last = seen.argmax(axis=0), seen.shape[0] - seen[::-1].argmax(axis=0)
    order = np.lexsort((first, last, own))
    points, own, seen = points[order], own[order], seen[:, order]
    starts = np.searchsorted(own, own)
    slot = np.arange(len(points)) - starts
    width = int(slot.max()) + 1
    count = len(is_used)
    pixels = np.zeros((count, width, 2), np.float32)
    pixels[own, slot] = position[own, points]
    frame, which = np.nonzero(seen)
    code, edge = np.unique(own[which] * count + frame, return_inverse=True)
    target_px = np.zeros((len(code), width, 2), np.float32)
    packed_weight = np.zeros((len(code), width), np.float32)
    target_px[edge, slot[which]] = position[frame, points[which]]
    packed_weight[edge, slot[which]] = weight[frame, points[which]]
    return PackedPoints(
        points=points,
        slots=(own, slot),
        source=(code // count).astype(np.int32),
        target=(code % count).astype(np.int32),
        pixels=pixels,
        target_px=target_px,
        weight=packed_weight,
        edge=edge,
        observed=(frame, which),
    )
