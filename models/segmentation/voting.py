"""Dynamic masks from motion residuals: temporal voting along the flow, guided filter, morphology."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, UInt8Array
from models.depth.motion_stereo import MapFunction
from models.flow.dis import FlowCache, flow_magnitude, warp

FORWARD_BACKWARD_PX = 1.0
FORWARD_BACKWARD_SHARE = 0.05
MAX_RESIDUAL = 2.5
NEIGHBOR_WEIGHT = 1.0
SINGLE_FRAME_MARGIN = 0.25
DECAY = 0.8
GUIDE_PX = 4
EDGE_CONTRAST = 8.0
STRONG_FACTOR = 1.5
OPEN_PX, CLOSE_PX = 3, 7
MIN_AREA_SHARE = 0.001
MAX_HOLE_SHARE = 0.5


def vote_over_time(
    flows: FlowCache, residual: Sequence[Float32Array], weight: Sequence[Float32Array], is_registered: BoolArray
) -> tuple[list[Float32Array], list[Float32Array]]:
    """Residuals of each frame averaged over the clip along the flow, and their weights.

    A large residual in a single frame is kept, and residuals decay over the next frames in both directions, so that an
    object that pauses stays masked for a while.

    Args:
      flows: between neighboring frames.
      residual, weight: (h, w) of each frame: residual in units of its tolerance, and its weight.
      is_registered: (n,) bool; frames without a pose stop the propagation.

    Returns:
      Residual and weight of each frame.
    """
    count = len(residual)
    own = [np.dstack([w * np.minimum(e, MAX_RESIDUAL), w]) for e, w in zip(residual, weight, strict=True)]
    passes = []
    for order in (range(count), range(count - 1, -1, -1)):
        sums: list[Float32Array] = list(own)
        for frame, before in zip(order[1:], order[:-1], strict=True):
            if is_registered[frame] and is_registered[before]:
                warped, is_consistent = _warped(flows, sums[before], frame, before)
                sums[frame] = own[frame] + NEIGHBOR_WEIGHT * is_consistent[..., None] * warped
        passes.append(sums)
    total = [ahead + back - once for ahead, back, once in zip(*passes, own, strict=True)]
    mean = [
        np.maximum(t[..., 0] / np.maximum(t[..., 1], 1e-4), e - SINGLE_FRAME_MARGIN)
        for t, e in zip(total, residual, strict=True)
    ]
    return _propagate(flows, mean, is_registered), [np.minimum(t[..., 1], 1) for t in total]


def _propagate(flows: FlowCache, residual: Sequence[Float32Array], is_registered: BoolArray) -> list[Float32Array]:
    count = len(residual)
    best = [np.minimum(e, MAX_RESIDUAL) for e in residual]
    result = list(best)
    for order in (range(count), range(count - 1, -1, -1)):
        propagated = list(best)
        for frame, before in zip(order[1:], order[:-1], strict=True):
            if is_registered[frame] and is_registered[before]:
                warped, is_consistent = _warped(flows, propagated[before], frame, before)
                propagated[frame] = np.maximum(best[frame], DECAY * is_consistent * warped)
        result = [np.maximum(a, b) for a, b in zip(result, propagated, strict=True)]
    return result


def _warped(flows: FlowCache, values: Float32Array, frame: int, before: int) -> tuple[Float32Array, BoolArray]:
    """Values of another frame where a frame's pixels are in it, and forward-backward consistency there."""
    return warp(values, flows.flow(frame, before)), is_flow_consistent(flows, frame, before)


def is_flow_consistent(flows: FlowCache, before: int, now: int) -> BoolArray:
    """(h, w) bool: whether the forward-backward error of the flow is within its tolerance."""
    limit = FORWARD_BACKWARD_PX + FORWARD_BACKWARD_SHARE * flow_magnitude(flows.flow(before, now))
    return np.asarray(flows.forward_backward_px(before, now) < limit)


def clean_masks(
    gray: Sequence[UInt8Array], residual: Sequence[Float32Array], weight: Sequence[Float32Array], map_fn: MapFunction
) -> BoolArray:
    """(n, h, w) bool masks from residuals, without small or weak regions.

    Residuals of a region are above 1, some of them well above.
    """
    return np.stack(list(map_fn(lambda k: _clean(gray[k], residual[k], weight[k]), range(len(gray)))))


def _clean(gray: UInt8Array, residual: Float32Array, weight: Float32Array) -> BoolArray:
    smooth = _guided_mean(gray.astype(np.float32), residual, weight)
    weak = (smooth > 1).astype(np.uint8)
    opening, closing = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (OPEN_PX, CLOSE_PX))
    joined = cv2.morphologyEx(cv2.morphologyEx(weak, cv2.MORPH_OPEN, opening), cv2.MORPH_CLOSE, closing)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(joined, np.uint8), connectivity=8)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[smooth > STRONG_FACTOR])] = True
    strong[0] = False
    strong &= stats[:, cv2.CC_STAT_AREA] >= MIN_AREA_SHARE * residual.size
    return _fill_holes(np.asarray(strong[labels]))


def _guided_mean(guide: Float32Array, values: Float32Array, weight: Float32Array) -> Float32Array:
    """Weighted guided filter (He, Sun and Tang, "Guided image filtering", 2010)."""
    side = 2 * GUIDE_PX + 1

    def mean(of: Float32Array) -> Float32Array:
        return np.asarray(cv2.blur(of, (side, side)), np.float32)

    total = mean(weight) + np.float32(1e-4)
    guide_mean, value_mean = mean(weight * guide) / total, mean(weight * values) / total
    covariance = mean(weight * guide * values) / total - guide_mean * value_mean
    variance = np.maximum(mean(weight * guide * guide) / total - guide_mean * guide_mean, 0)
    slope = covariance / (variance + np.float32(EDGE_CONTRAST**2))
    return mean(slope) * guide + mean(value_mean - slope * guide_mean)


def _fill_holes(mask: BoolArray) -> BoolArray:
    """Mask with the holes filled that are small relative to the region around them."""
    filled = mask.astype(np.uint8)
    contours, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for index, contour in enumerate(contours):
        parent = tree[0, index, 3]
        if parent >= 0 and cv2.contourArea(contour) < MAX_HOLE_SHARE * cv2.contourArea(contours[parent]):
            cv2.drawContours(filled, contours, index, 1, cv2.FILLED)
    return filled > 0
