"""Tracks across weak links: frames that little leads to, such as blurred ones, bridged by what pictures look like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from models.sfm.tracks import Tracks

WEAK_LINK = 60
"""Fewer points in common make two frames weakly linked."""
REACH_FRAMES = 4
MAX_FEATURES = 2500
MIN_CONTRAST = 0.01
MAX_RATIO = 0.8
"""Most distance of a feature's best match, as a share of that of its second best (Lowe, 2004)."""
MIN_MATCHES = 30
MAX_HOMOGRAPHY_ERROR_PX = 4.0


class _Features(NamedTuple):
    """SIFT features of a frame: (k, 2) places and (k, 128) descriptors."""

    at: Float64Array
    descriptors: Float32Array


def bridge_weak_links(tracks: Tracks, gray: Sequence[UInt8Array]) -> Tracks:
    """The tracks and, around frames that share few points with the next ones, tracks of matched SIFT features.

    Pairs of frames on both sides of a weak link are matched, whatever lies between them. Matches count if they agree on
    a homography: with few of them nothing weaker tells right from wrong. A clip without weak links stays as it is.

    Args:
      tracks: points followed from frame to frame.
      gray: (h, w) uint8 frames.
    """
    seen = tracks.is_seen
    weak = np.flatnonzero((seen[1:] & seen[:-1]).sum(axis=1) < WEAK_LINK)
    near = {f for w in weak.tolist() for f in range(w - REACH_FRAMES + 1, w + REACH_FRAMES + 1) if 0 <= f < len(gray)}
    if not near:
        return tracks
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=MIN_CONTRAST)
    features = {frame: _find_features(sift, gray[frame]) for frame in sorted(near)}
    matches = [(a, b, *_match(features[a], features[b])) for a, b in combinations(features, 2) if b - a <= REACH_FRAMES]
    position = np.concatenate([tracks.position, _join(features, matches, len(gray))], axis=1)
    return Tracks(position=position)


def _find_features(sift: cv2.SIFT, gray: UInt8Array) -> _Features:
    keypoints, descriptors = sift.detectAndCompute(gray, None)
    at = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2)
    return _Features(at, np.zeros((0, 128), np.float32) if descriptors is None else np.asarray(descriptors, np.float32))


def _match(first: _Features, second: _Features) -> tuple[Int64Array, Int64Array]:
    """Numbers of features in both frames that are the same by their looks and agree on a homography."""
    none = np.zeros(0, np.int64)
    if min(len(first.at), len(second.at)) < MIN_MATCHES:
        return none, none
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first.descriptors, second.descriptors, k=2)
    good = [best for best, next_best in pairs if best.distance < MAX_RATIO * next_best.distance]
    source, target = (np.array([getattr(m, side) for m in good], np.int64) for side in ("queryIdx", "trainIdx"))
    if len(good) < MIN_MATCHES:
        return none, none
    _, mask = cv2.findHomography(first.at[source], second.at[target], cv2.USAC_MAGSAC, MAX_HOMOGRAPHY_ERROR_PX)
    if mask is None or np.count_nonzero(mask) < MIN_MATCHES:
        return none, none
    fits = mask.ravel() > 0
    return source[fits], target[fits]


def _join(
    features: dict[int, _Features], matches: list[tuple[int, int, Int64Array, Int64Array]], num_frames: int
) -> Float64Array:
    """(n, k, 2) positions of features that matches join; without those that would be at two places of a frame."""
    start = dict(zip(features, np.cumsum([0, *(len(f.at) for f in features.values())]).tolist(), strict=False))
    total = sum(len(f.at) for f in features.values())
    joined = [(start[a] + i, start[b] + k) for a, b, of_a, of_b in matches for i, k in zip(of_a, of_b, strict=True)]
    root = _components(total, joined)
    frame = np.repeat(list(features), [len(f.at) for f in features.values()])
    at = np.concatenate([f.at for f in features.values()])
    order = np.lexsort((frame, root))
    is_repeated = np.zeros(total, bool)
    same = (root[order][1:] == root[order][:-1]) & (frame[order][1:] == frame[order][:-1])
    is_repeated[root[order][1:][same]] = True
    size = np.bincount(root, minlength=total)
    chosen = np.flatnonzero((size[root] > 1) & ~is_repeated[root])
    _, column = np.unique(root[chosen], return_inverse=True)
    position = np.full((num_frames, int(column.max(initial=-1)) + 1, 2), np.nan)
    position[frame[chosen], column] = at[chosen]
    return position


def _components(count: int, joined: Sequence[tuple[int, int]]) -> Int64Array:
    """(count,) the smallest member of the component of each node of a graph."""
    parent = np.arange(count)

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for a, b in joined:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return np.array([find(node) for node in range(count)], np.int64)
