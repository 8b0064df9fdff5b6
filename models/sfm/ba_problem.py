"""Points and observations packed into the arrays of the bundle adjuster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True)
class PackedObservations:
    """Points in slots of their reference frames, and observations by edge (reference frame, observing frame).

    Attributes:
      points: (k,) indices of the points.
      slots: (k,) reference frames and (k,) slots in them.
      source, target: (e,) reference and observing frame of each edge.
      reference_px: (n, width, 2) keypoints in the reference frames.
      target_px, weight: (e, width, 2) and (e, width): keypoints in the observing frames and their weights, 0 for none.
      edge: (o,) edge of each observation.
      observations: (o,) frames and (o,) positions in `points` of the observations.
    """

    points: Int64Array
    slots: tuple[Int64Array, Int64Array]
    source: Int32Array
    target: Int32Array
    reference_px: Float32Array
    target_px: Float32Array
    weight: Float32Array
    edge: Int64Array
    observations: tuple[Int64Array, Int64Array]

    def to_slots(self, values: Float64Array) -> Float64Array:
        """(n, width) slots with the (k,) values of the points; 0 in empty slots."""
        packed = np.zeros(self.reference_px.shape[:2])
        packed[self.slots] = values
        return packed


def pack_observations(
    keypoints_px: Float64Array,
    is_observed: BoolArray,
    weight: Float32Array,
    reference: Int64Array,
    is_triangulated: BoolArray,
    frames: BoolArray,
    observed_by: BoolArray,
) -> PackedObservations | None:
    """Observations in `frames` of triangulated points that a frame of `observed_by` observes; None without any.

    Points of a reference frame are sorted by the frames that observe them, since the bundle adjuster skips runs of
    slots without observations.

    Args:
      keypoints_px, is_observed, weight: (n, m, 2), (n, m) and (n, m) keypoints, which are observations, weights.
      reference: (m,) reference frame of each triangulated point.
      is_triangulated: (m,).
      frames, observed_by: (n,).
    """
    points = np.flatnonzero(is_triangulated & is_observed[observed_by].any(axis=0))
    own = reference[points]
    observed = is_observed[:, points] & frames[:, None]
    observed[own, np.arange(len(points))] = False
    has_observation = observed.any(axis=0)
    points, observed = points[has_observation], observed[:, has_observation]
    if not len(points):
        return None
    own = reference[points]
    first, last = observed.argmax(axis=0), observed.shape[0] - observed[::-1].argmax(axis=0)
    order = np.lexsort((first, last, own))
    points, own, observed = points[order], own[order], observed[:, order]
    starts = np.searchsorted(own, own)
    slot = np.arange(len(points)) - starts
    width = int(slot.max()) + 1
    count = len(is_observed)
    reference_px = np.zeros((count, width, 2), np.float32)
    reference_px[own, slot] = keypoints_px[own, points]
    frame, which = np.nonzero(observed)
    code, edge = np.unique(own[which] * count + frame, return_inverse=True)
    target_px = np.zeros((len(code), width, 2), np.float32)
    packed_weight = np.zeros((len(code), width), np.float32)
    target_px[edge, slot[which]] = keypoints_px[frame, points[which]]
    packed_weight[edge, slot[which]] = weight[frame, points[which]]
    return PackedObservations(
        points=points,
        slots=(own, slot),
        source=(code // count).astype(np.int32),
        target=(code % count).astype(np.int32),
        reference_px=reference_px,
        target_px=target_px,
        weight=packed_weight,
        edge=edge,
        observations=(frame, which),
    )
