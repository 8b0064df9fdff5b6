"""Feature tracks through a clip: corners tracked by Lucas-Kanade, initialized by dense optical flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from models.flow.dis import DisFlow, track_points_lk

MAX_TRACKS = 900
MIN_DISTANCE_SHARE = 1 / 60
CORNER_QUALITY = 0.002
LK_LEVELS = 2
BORDER_PX = 4
SHIFT_SIDE_PX = 160
MIN_SHIFT_RESPONSE = 0.1


class Correspondences(NamedTuple):
    """Correspondences between two frames, for many pairs of frames at once.

    Attributes:
      source, target: (b, k, 2) float64 pixels in the first and second frame of each pair, 0 for padding.
      is_common: (b, k): False for padding.
    """

    source: Float64Array
    target: Float64Array
    is_common: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Keypoints tracked through the frames of a clip.

    Attributes:
      keypoints_px: (n, m, 2) float64: x and y of each track in each frame, in pixels; NaN where it is not tracked.
    """

    keypoints_px: Float64Array

    @property
    def is_tracked(self) -> BoolArray:
        """(n, m): whether a track has a keypoint in a frame."""
        return np.isfinite(self.keypoints_px[..., 0])

    def correspondences(self, first: Int64Array, second: Int64Array) -> Correspondences:
        """Keypoints of the tracks that two frames share, for (b,) pairs of frames."""
        tracked = self.is_tracked
        is_both = tracked[first] & tracked[second]
        count = is_both.sum(axis=1)
        is_common = np.arange(count.max(initial=0)) < count[:, None]
        source, target = (np.zeros((*is_common.shape, 2)) for _ in range(2))
        pair, track = np.nonzero(is_both)
        source[is_common] = self.keypoints_px[first[pair], track]
        target[is_common] = self.keypoints_px[second[pair], track]
        return Correspondences(source, target, is_common)


def track_keypoints(gray: Sequence[UInt8Array], dynamic_masks: BoolArray | None = None) -> Tracks:
    """Tracks of corners (Shi & Tomasi 1994) by pyramidal Lucas-Kanade (Bouguet 2000).

    Tracks end where forward-backward consistency fails; new corners are detected away from current tracks. Dense
    inverse search flow (Kroeger et al. 2016) initializes each step, for motions of up to a quarter of the image.

    Args:
      gray: (h, w) uint8 frames of one size.
      dynamic_masks: (n, h, w) bool: where no corners are detected.
    """
    engine = DisFlow()
    tracker = _KeypointTracker(gray[0].shape[0], gray[0].shape[1], len(gray))
    tracker.detect(gray[0], None if dynamic_masks is None else dynamic_masks[0])
    for index in range(1, len(gray)):
        initial_flow = _global_shift(gray[index - 1], gray[index])
        flow = engine.flow(gray[index - 1], gray[index], initial_flow)
        tracker.track(gray[index - 1], gray[index], flow)
        tracker.detect(gray[index], None if dynamic_masks is None else dynamic_masks[index])
    return tracker.tracks()


def _global_shift(before: UInt8Array, now: UInt8Array) -> Float32Array:
    """Global image shift by phase correlation (Kuglin and Hines 1975); 0 if unclear."""
    height, width = before.shape
    scale = min(1.0, SHIFT_SIDE_PX / max(height, width))
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [cv2.resize(g, size, interpolation=cv2.INTER_AREA).astype(np.float32) for g in (before, now)]
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(small[0], small[1], window)
    flow = np.zeros((height, width, 2), np.float32)
    if response >= MIN_SHIFT_RESPONSE:
        flow[:] = (dx * width / size[0], dy * height / size[1])
    return flow


class _KeypointTracker:
    """Current keypoints and the tracks that they belong to."""

    def __init__(self, height: int, width: int, num_frames: int) -> None:
        self._size = (width, height)
        self._num_frames = num_frames
        self._min_distance = max(4.0, max(height, width) * MIN_DISTANCE_SHARE)
        self._keypoints = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._num_tracks = 0
        self._observations: list[tuple[Int64Array, Float32Array]] = []

    def detect(self, gray: UInt8Array, dynamic_mask: BoolArray | None) -> None:
        """Starts tracks at corners away from current ones, then stores the frame's keypoints."""
        free = np.full(gray.shape, 255, np.uint8)
        if dynamic_mask is not None:
            free[dynamic_mask] = 0
        for x, y in np.rint(self._keypoints).astype(int).tolist():
            cv2.circle(free, (x, y), int(self._min_distance), 0, -1)
        num_new = MAX_TRACKS - len(self._keypoints)
        if num_new > 0:
            corners = cv2.goodFeaturesToTrack(gray, num_new, CORNER_QUALITY, self._min_distance, mask=free, blockSize=5)
            if corners is not None:
                found = np.asarray(corners, np.float32).reshape(-1, 2)
                inside = self._is_inside(found)
                found = found[inside]
                self._ids = np.concatenate([self._ids, np.arange(self._num_tracks, self._num_tracks + len(found))])
                self._num_tracks += len(found)
                self._keypoints = np.concatenate([self._keypoints, found])
        self._observations.append((self._ids.copy(), self._keypoints.copy()))

    def track(self, before: UInt8Array, now: UInt8Array, flow: Float32Array) -> None:
        """Tracks all keypoints into the next frame and ends the tracks that are lost."""
        if not len(self._keypoints):
            return
        at = np.rint(self._keypoints).astype(int)
        predicted = self._keypoints + flow[at[:, 1], at[:, 0]]
        forward, ok = track_points_lk(before, now, self._keypoints, predicted, LK_LEVELS)
        keep = ok & self._is_inside(forward)
        self._keypoints, self._ids = forward[keep], self._ids[keep]

    def tracks(self) -> Tracks:
        keypoints_px = np.full((self._num_frames, self._num_tracks, 2), np.nan)
        for index, (ids, at) in enumerate(self._observations):
            keypoints_px[index, ids] = at
        return Tracks(keypoints_px=keypoints_px)

    def _is_inside(self, at: Float32Array) -> BoolArray:
        width, height = self._size
        x, y = at[:, 0], at[:, 1]
        return (x >= BORDER_PX) & (y >= BORDER_PX) & (x < width - BORDER_PX) & (y < height - BORDER_PX)
