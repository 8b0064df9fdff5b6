"""Feature matches across weak links in the tracks, and for loop closures.

Weak links are fast turns or blurred frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import cv2
import numpy as np

from core.arrays import Float64Array, Int64Array, UInt8Array
from models.sfm.feature_matching import Features, detect_features, match_features
from models.sfm.tracks import Tracks

WEAK_LINK = 60
WEAK_LINK_RATIO = 0.4
"""Neighboring frames are weakly linked if they share fewer tracks than this, or than this share of the median."""
REACH_FRAMES = 3
"""Frames up to so far apart are matched across a weak link."""
THUMBNAIL_SIZE = (32, 18)
THUMBNAIL_LEVELS = 32
"""Integer levels per standard deviation of a thumbnail: products of thumbnails are then exact in float32."""
MIN_LOOP_FRAMES = 8
MIN_LOOP_SIMILARITY = 0.6
"""Correlation of thumbnails of frames that are tried for a loop closure."""
MAX_LOOPS = 8


def bridge_weak_links(tracks: Tracks, gray: Sequence[UInt8Array]) -> Tracks:
    """The tracks, and tracks of matched SIFT features across weak links and loop closures.

    Tracks without weak links are returned unchanged: they drift so little that `refine_observations` closes loops.

    Args:
      tracks: tracks from frame to frame.
      gray: (h, w) uint8 frames.
    """
    tracked = tracks.is_tracked
    links = (tracked[1:] & tracked[:-1]).sum(axis=1)
    weak = np.flatnonzero(links < max(WEAK_LINK, WEAK_LINK_RATIO * float(np.median(links)))).tolist()
    if not weak:
        return tracks
    pairs = sorted(_pairs_across(weak, len(gray)) | _loop_pairs(gray))
    features = {frame: detect_features(gray[frame]) for frame in sorted({frame for pair in pairs for frame in pair})}
    matches = [(a, b, *match_features(features[a], features[b])) for a, b in pairs]
    added = _merge_matches(features, matches, len(gray))
    return Tracks(keypoints_px=np.concatenate([tracks.keypoints_px, added], axis=1))


def _pairs_across(weak: Sequence[int], num_frames: int) -> set[tuple[int, int]]:
    """Pairs of frames across weak links, with their neighbors on either side."""
    pairs: set[tuple[int, int]] = set()
    for link in weak:
        near = range(max(0, link + 1 - REACH_FRAMES), min(num_frames, link + 1 + REACH_FRAMES))
        pairs |= {(a, b) for a, b in combinations(near, 2) if b - a == 1 or (a <= link < b and b - a <= REACH_FRAMES)}
    return pairs


def _loop_pairs(gray: Sequence[UInt8Array]) -> set[tuple[int, int]]:
    """Candidate pairs for loop closures, with the next frames."""
    small = np.stack([cv2.resize(g, THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).ravel() for g in gray])
    centered = small - small.mean(axis=1, keepdims=True)
    deviation = np.maximum(small.std(axis=1, keepdims=True), 1.0)
    levels = np.rint(np.clip(centered / deviation * THUMBNAIL_LEVELS, -127, 127)).astype(np.float32)
    product = levels @ levels.T
    norm = np.sqrt(np.maximum(product.diagonal(), 1.0))
    similarity = np.triu(product / norm / norm[:, None], MIN_LOOP_FRAMES)
    frames = np.arange(len(gray))
    pairs: set[tuple[int, int]] = set()
    for _ in range(MAX_LOOPS):
        first, second = divmod(int(similarity.argmax()), len(gray))
        if similarity[first, second] < MIN_LOOP_SIMILARITY:
            break
        pairs |= _with_neighbors(first, second, len(gray))
        near = np.abs(frames - first) < MIN_LOOP_FRAMES // 2, np.abs(frames - second) < MIN_LOOP_FRAMES // 2
        similarity[np.ix_(*near)] = 0
    return pairs


def _with_neighbors(first: int, second: int, num_frames: int) -> set[tuple[int, int]]:
    """The pair, and each of its frames with the next one."""
    return {(first, second), (first, first + 1), *({(second, second + 1)} if second + 1 < num_frames else ())}


def _merge_matches(
    features: dict[int, Features], matches: list[tuple[int, int, Int64Array, Int64Array]], num_frames: int
) -> Float64Array:
    """(n, k, 2) tracks: components of matches without two keypoints in a frame."""
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
