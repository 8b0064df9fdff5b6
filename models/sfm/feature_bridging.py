"""Feature matching (SIFT) across weak links in the tracks, such as blurred frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from models.sfm.tracks import Tracks

WEAK_LINK = 60
"""Neighboring frames that share fewer tracks are weakly linked."""
REACH_FRAMES = 4
MAX_FEATURES = 2500
MIN_CONTRAST = 0.01
MAX_RATIO = 0.8
"""Of the ratio test: distance of the best match over that of the second best (Lowe 2004)."""
MIN_MATCHES = 30
MAX_HOMOGRAPHY_ERROR_PX = 4.0


class _Features(NamedTuple):
    """SIFT features of a frame (Lowe 2004): (k, 2) keypoints and (k, 128) descriptors."""

    keypoints: Float64Array
    descriptors: Float32Array


def bridge_weak_links(tracks: Tracks, gray: Sequence[UInt8Array]) -> Tracks:
    """The tracks, and tracks of matched SIFT features around weak links.

    All pairs of frames near a weak link are matched, and verified by a homography (MAGSAC++, Barath et al. 2020): with
    few matches, weaker models do not separate inliers from outliers. Tracks without weak links are returned unchanged.

    Args:
      tracks: tracks from frame to frame.
      gray: (h, w) uint8 frames.
    """
    tracked = tracks.is_tracked
    weak = np.flatnonzero((tracked[1:] & tracked[:-1]).sum(axis=1) < WEAK_LINK)
    near = {f for w in weak.tolist() for f in range(w - REACH_FRAMES + 1, w + REACH_FRAMES + 1) if 0 <= f < len(gray)}
    if not near:
        return tracks
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=MIN_CONTRAST)
    features = {frame: _detect_features(sift, gray[frame]) for frame in sorted(near)}
    matches = [(a, b, *_match(features[a], features[b])) for a, b in combinations(features, 2) if b - a <= REACH_FRAMES]
    added = _merge_matches(features, matches, len(gray))
    return Tracks(keypoints_px=np.concatenate([tracks.keypoints_px, added], axis=1))


def _detect_features(sift: cv2.SIFT, gray: UInt8Array) -> _Features:
    keypoints, descriptors = sift.detectAndCompute(gray, None)
    points = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2)
    return _Features(points, np.asarray(np.zeros((0, 128)) if descriptors is None else descriptors, np.float32))


def _match(first: _Features, second: _Features) -> tuple[Int64Array, Int64Array]:
    """Indices of features in both frames that pass the ratio test and are inliers of a homography."""
    none = np.zeros(0, np.int64)
    if min(len(first.keypoints), len(second.keypoints)) < MIN_MATCHES:
        return none, none
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first.descriptors, second.descriptors, k=2)
    good = [best for best, next_best in pairs if best.distance < MAX_RATIO * next_best.distance]
    source, target = (np.array([getattr(m, side) for m in good], np.int64) for side in ("queryIdx", "trainIdx"))
    if len(good) < MIN_MATCHES:
        return none, none
    source_px, target_px = first.keypoints[source], second.keypoints[target]
    _, mask = cv2.findHomography(source_px, target_px, cv2.USAC_MAGSAC, MAX_HOMOGRAPHY_ERROR_PX)
    if mask is None or np.count_nonzero(mask) < MIN_MATCHES:
        return none, none
    is_inlier = mask.ravel() > 0
    return source[is_inlier], target[is_inlier]


def _merge_matches(
    features: dict[int, _Features], matches: list[tuple[int, int, Int64Array, Int64Array]], num_frames: int
) -> Float64Array:
    """(n, k, 2) tracks as connected components of the matches, without those with two keypoints in a frame."""
    start = dict(zip(features, np.cumsum([0, *(len(f.keypoints) for f in features.values())]).tolist(), strict=False))
    total = sum(len(f.keypoints) for f in features.values())
    edges = [(start[a] + i, start[b] + k) for a, b, of_a, of_b in matches for i, k in zip(of_a, of_b, strict=True)]
    root = _connected_components(total, edges)
    frame = np.repeat(list(features), [len(f.keypoints) for f in features.values()])
    keypoints = np.concatenate([f.keypoints for f in features.values()])
    order = np.lexsort((frame, root))
    is_ambiguous = np.zeros(total, bool)
    same = (root[order][1:] == root[order][:-1]) & (frame[order][1:] == frame[order][:-1])
    is_ambiguous[root[order][1:][same]] = True
    size = np.bincount(root, minlength=total)
    chosen = np.flatnonzero((size[root] > 1) & ~is_ambiguous[root])
    _, column = np.unique(root[chosen], return_inverse=True)
    tracks = np.full((num_frames, int(column.max(initial=-1)) + 1, 2), np.nan)
    tracks[frame[chosen], column] = keypoints[chosen]
    return tracks


def _connected_components(count: int, edges: Sequence[tuple[int, int]]) -> Int64Array:
    """(count,) smallest node of each node's connected component, by union-find."""
    parent = np.arange(count)

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return np.array([find(node) for node in range(count)], np.int64)
