"""Points followed through the frames of a clip: corners, carried by dense flow and refined by Lucas-Kanade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from models.flow.dis import DisFlow, track_points_lk

MAX_POINTS = 900
MIN_DISTANCE_SHARE = 1 / 60
CORNER_QUALITY = 0.002
LK_LEVELS = 2
BORDER_PX = 4
SHIFT_SIDE_PX = 160
MIN_SHIFT_RESPONSE = 0.1


class PairPoints(NamedTuple):
    """Points that two frames see, for many pairs of frames at once.

    Attributes:
      source, target: (b, k, 2) float64 pixels in the first and second frame of each pair, 0 where there is no point.
      is_common: (b, k): where there is one.
    """

    source: Float64Array
    target: Float64Array
    is_common: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Points of the scene as seen in some frames of a clip.

    Attributes:
      position: (n, m, 2) float64: x and y of each point in each frame, in pixels; NaN where it is not seen.
    """

    position: Float64Array

    @property
    def is_seen(self) -> BoolArray:
        """(n, m): whether a frame sees a point."""
        return np.isfinite(self.position[..., 0])

    def of_pairs(self, first: Int64Array, second: Int64Array) -> PairPoints:
        """The points that both frames of each pair see; (b,) frames each."""
        seen = self.is_seen
        is_both = seen[first] & seen[second]
        count = is_both.sum(axis=1)
        is_common = np.arange(count.max(initial=0)) < count[:, None]
        source, target = (np.zeros((*is_common.shape, 2)) for _ in range(2))
        pair, point = np.nonzero(is_both)
        source[is_common] = self.position[first[pair], point]
        target[is_common] = self.position[second[pair], point]
        return PairPoints(source, target, is_common)


def track_points(gray: Sequence[UInt8Array], moving: BoolArray | None = None) -> Tracks:
    """Follows corners from frame to frame.

    A point goes on as long as Lucas-Kanade finds it, and finds the way back to where it came from; new corners are
    found where none is near. Dense inverse search flow gives the first guess, so that steps of a
    quarter of the picture are followed.

    Args:
      gray: (h, w) uint8 frames of one size.
      moving: (n, h, w) bool: where points are not wanted.
    """
    engine = DisFlow()
    follower = _Follower(gray[0].shape[0], gray[0].shape[1], len(gray))
    follower.find(gray[0], None if moving is None else moving[0])
    for index in range(1, len(gray)):
        start = _shift(gray[index - 1], gray[index])
        flow = engine.flow(gray[index - 1], gray[index], start)
        follower.follow(gray[index - 1], gray[index], flow)
        follower.find(gray[index], None if moving is None else moving[index])
    return follower.tracks()


def _shift(before: UInt8Array, now: UInt8Array) -> Float32Array:
    """The shift of the whole picture as a flow field, from phase correlation: where a search should begin."""
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


class _Follower:
    def __init__(self, height: int, width: int, num_frames: int) -> None:
        self._size = (width, height)
        self._num_frames = num_frames
        self._min_distance = max(4.0, max(height, width) * MIN_DISTANCE_SHARE)
        self._now = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._count = 0
        self._seen: list[tuple[Int64Array, Float32Array]] = []

    def find(self, gray: UInt8Array, moving: BoolArray | None) -> None:
        """Adds corners of a frame that are not near a followed point, and notes where all points are."""
        free = np.full(gray.shape, 255, np.uint8)
        if moving is not None:
            free[moving] = 0
        for x, y in np.rint(self._now).astype(int).tolist():
            cv2.circle(free, (x, y), int(self._min_distance), 0, -1)
        wanted = MAX_POINTS - len(self._now)
        if wanted > 0:
            corners = cv2.goodFeaturesToTrack(gray, wanted, CORNER_QUALITY, self._min_distance, mask=free, blockSize=5)
            if corners is not None:
                found = np.asarray(corners, np.float32).reshape(-1, 2)
                inside = self._is_inside(found)
                found = found[inside]
                self._ids = np.concatenate([self._ids, np.arange(self._count, self._count + len(found))])
                self._count += len(found)
                self._now = np.concatenate([self._now, found])
        self._seen.append((self._ids.copy(), self._now.copy()))

    def follow(self, before: UInt8Array, now: UInt8Array, flow: Float32Array) -> None:
        """Carries all points from one frame to the next and lets go of those that are lost."""
        if not len(self._now):
            return
        at = np.rint(self._now).astype(int)
        guess = self._now + flow[at[:, 1], at[:, 0]]
        forward, ok = track_points_lk(before, now, self._now, guess, LK_LEVELS)
        keep = ok & self._is_inside(forward)
        self._now, self._ids = forward[keep], self._ids[keep]

    def tracks(self) -> Tracks:
        position = np.full((self._num_frames, self._count, 2), np.nan)
        for index, (ids, at) in enumerate(self._seen):
            position[index, ids] = at
        return Tracks(position=position)

    def _is_inside(self, at: Float32Array) -> BoolArray:
        width, height = self._size
        x, y = at[:, 0], at[:, 1]
        return (x >= BORDER_PX) & (y >= BORDER_PX) & (x < width - BORDER_PX) & (y < height - BORDER_PX)
