"""Frontend of DROID-SLAM for many clips.

Keyframes one by one, with local bundle adjustment over recent edges.
"""

from __future__ import annotations

import numpy as np
import torch

from core.arrays import Int64Array
from models.slam.dense_ba import DenseBAOptions
from models.slam.factor_graph import FactorGraph, StepOptions
from models.slam.geometry import Cameras, frame_distance
from models.slam.proximity import ProximityOptions, candidate_pairs, select_edges
from models.slam.settings import TrackerSettings

INIT_RADIUS = 3
INIT_STEPS = 10
INIT_BETA = 0.25
INIT_INACTIVE = 4
"""Keyframes whose edges become inactive after the initialization."""
RECENT = 5
"""Newest keyframes that get proximity edges."""
STEPS_BEFORE, STEPS_AFTER = 8, 4
PRIOR_ALPHA = 0.05
INACTIVE_MARGIN = 3


class Frontend:
    """Keyframes of a batch of clips.

    All clips take their next keyframe in the same round.

    Attributes:
      keyframes: for each clip, its frame indices.

    Args:
      graph: an empty one.
      candidates: for each clip, the frames that can become keyframes.
      settings: of the tracker.
    """

    def __init__(self, graph: FactorGraph, candidates: list[list[int]], settings: TrackerSettings) -> None:
        self._graph, self._candidates, self._settings = graph, candidates, settings
        self._cameras: Cameras = graph.cameras
        self._index = np.full(len(self._cameras.clip), -1)
        self.keyframes: list[list[int]] = [[] for _ in candidates]
        alpha = torch.full((len(candidates),), PRIOR_ALPHA, device=self._cameras.clip.device)
        self._full = StepOptions(bundle=DenseBAOptions(), alpha=alpha)
        self._poses_only = StepOptions(bundle=DenseBAOptions(motion_only=True), alpha=alpha)

    def run(self) -> None:
        """Initializes all clips, then adds keyframe after keyframe."""
        self._initialize()
        first = self._settings.warmup_keyframes
        for k in range(first, max((len(own) for own in self._candidates), default=0)):
            clips = [c for c, candidates in enumerate(self._candidates) if len(candidates) > k]
            self._add_keyframe(clips, k)

    def _initialize(self) -> None:
        for clip, candidates in enumerate(self._candidates):
            self._set_keyframes(clip, candidates[: self._settings.warmup_keyframes])
        clips = [c for c, keyframes in enumerate(self.keyframes) if len(keyframes) > 1]
        pairs = []
        for c in clips:
            n = len(self.keyframes[c])
            near = [(i, j) for i in range(n) for j in range(n) if 0 < abs(i - j) <= INIT_RADIUS]
            pairs.append((c, np.array(near)))
        self._add_edges(pairs)
        free = [np.array(k[1:], np.int64) for k in self.keyframes]
        self._graph.update(INIT_STEPS, free, self._poses_only)
        options = ProximityOptions(
            suppression=2, max_distance_px=self._settings.frontend_max_distance_px, beta=INIT_BETA
        )
        self._add_edges(find_edges(self._graph, self.keyframes, clips, options))
        self._graph.update(INIT_STEPS, free, self._poses_only)
        self._graph.update(INIT_STEPS, free, self._full)
        self._graph.deactivate(self._index[self._graph.active.source] < INIT_INACTIVE)

    def _add_keyframe(self, clips: list[int], k: int) -> None:
        graph, settings = self._graph, self._settings
        for c in clips:
            self._start_keyframe(c, self._candidates[c][k])
        graph.deactivate(graph.active.age > settings.max_edge_age)
        options = ProximityOptions(
            suppression=1, max_distance_px=settings.frontend_max_distance_px, beta=settings.distance_beta
        )
        pairs = find_edges(graph, self.keyframes, clips, options, settings.frontend_window, self._index)
        self._deactivate_oldest(pairs)
        self._add_edges(pairs)
        self._optimize(STEPS_BEFORE, clips)
        near = self._find_near(clips)
        for c in near:
            self._remove_keyframe(c)
        if kept := [c for c in clips if c not in near]:
            self._optimize(STEPS_AFTER, kept)

    def _start_keyframe(self, clip: int, frame: int) -> None:
        """Initial pose and inverse depth of a keyframe.

        The last keyframe's pose; the depth prior, else the mean of the last four keyframes.
        """
        cameras, last = self._cameras, self.keyframes[clip][-1]
        cameras.rotation[frame] = cameras.rotation[last]
        cameras.translation[frame] = cameras.translation[last]
        mean = cameras.inverse_depth[self.keyframes[clip][-4:]].mean()
        cameras.inverse_depth[frame] = torch.where(cameras.prior[frame] > 0, cameras.prior[frame], mean)
        self._set_keyframes(clip, [*self.keyframes[clip], frame])

    def _optimize(self, count: int, clips: list[int]) -> None:
        """Updates the active edges; poses up to their first source keyframe stay fixed."""
        graph = self._graph
        free = [np.zeros(0, np.int64) for _ in self.keyframes]
        first_free = np.zeros(len(self.keyframes), np.int64)
        active, member = self._index[graph.active.source], graph.clip_of(graph.active.source)
        for c in clips:
            first_free[c] = max(1, active[member == c].min() + 1)
            free[c] = np.array(self.keyframes[c][first_free[c] :], np.int64)
        inactive = graph.inactive
        ends = np.minimum(self._index[inactive.source], self._index[inactive.target])
        clip = graph.clip_of(inactive.source)
        included = (ends >= first_free[clip] - INACTIVE_MARGIN) & np.isin(clip, clips)
        graph.update(count, free, self._full, None if len(clips) == len(self.keyframes) else np.array(clips), included)

    def _find_near(self, clips: list[int]) -> list[int]:
        """Clips whose last two keyframes before the newest are too close; one transfer for all."""
        ends = np.array([self.keyframes[c][-3:-1] for c in clips])
        i, j = torch.from_numpy(ends).to(self._cameras.clip.device).unbind(1)
        distance = frame_distance(self._cameras, i, j, self._settings.distance_beta).cpu().numpy()
        is_near = distance < self._settings.min_keyframe_distance_px
        return [c for c, near in zip(clips, is_near, strict=True) if near]

    def _remove_keyframe(self, clip: int) -> None:
        """Removes the keyframe before the newest."""
        frame = self.keyframes[clip][-2]
        self._graph.remove_frames(np.array([frame]))
        self._index[frame] = -1
        self._set_keyframes(clip, [k for k in self.keyframes[clip] if k != frame])

    def _deactivate_oldest(self, pairs: list[tuple[int, Int64Array]]) -> None:
        """Deactivates the oldest active edges where new ones would exceed `max_active_edges`."""
        active = self._graph.active
        clip, oldest = self._graph.clip_of(active.source), np.zeros(len(active), bool)
        for c, new in pairs:
            own = np.flatnonzero(clip == c)
            surplus = len(own) + len(new) - self._settings.max_active_edges
            if surplus > 0:
                oldest[own[np.argsort(-active.age[own], kind="stable")[:surplus]]] = True
        self._graph.deactivate(oldest)

    def _add_edges(self, pairs: list[tuple[int, Int64Array]]) -> None:
        add_edges(self._graph, self.keyframes, pairs)

    def _set_keyframes(self, clip: int, frames: list[int]) -> None:
        self.keyframes[clip] = list(frames)
        self._index[frames] = np.arange(len(frames))


def add_edges(graph: FactorGraph, frames: list[list[int]], pairs: list[tuple[int, Int64Array]]) -> None:
    """Adds edges that are given as indices (n, 2) into the frames of a clip."""
    ends = [np.array(frames[c], np.int64)[edges] for c, edges in pairs if len(edges)]
    if ends:
        graph.add(*np.concatenate(ends).T)


def find_edges(
    graph: FactorGraph,
    frames: list[list[int]],
    clips: list[int],
    options: ProximityOptions,
    window: int | None = None,
    index: Int64Array | None = None,
    edges_per_frame: float = np.inf,
) -> list[tuple[int, Int64Array]]:
    """Proximity edges (n, 2) of each clip, as indices into its frames.

    One transfer for all distances.

    Args:
      graph: its cameras are used, and its existing edges if `index` is given.
      frames: for each clip, the frames of its edges.
      clips: that get edges.
      options: of the selection.
      window: only the newest frames get edges, to this many frames before them; none for all.
      index: (f,) of each frame in its clip's `frames`.
      edges_per_frame: most edges, on average.
    """
    requests = []
    for c in clips:
        n = len(frames[c])
        first, partner = (0, 0) if window is None else (max(n - RECENT, 0), max(n - window, 0))
        requests.append((c, n, first, candidate_pairs(n, first, partner, options.radius)))
    ends = np.concatenate([np.array(frames[c], np.int64)[pairs] for c, _, _, pairs in requests])
    i, j = torch.from_numpy(ends).to(graph.cameras.clip.device).unbind(1)
    distance = frame_distance(graph.cameras, i, j, options.beta).cpu().numpy()
    found, start = [], 0
    for c, n, first, pairs in requests:
        own = distance[start : start + len(pairs)]
        start += len(pairs)
        existing = [] if index is None else _existing(graph, index, c)
        found.append((c, select_edges(pairs, own, existing, n, first, edges_per_frame * n, options)))
    return found


def _existing(graph: FactorGraph, index: Int64Array, clip: int) -> list[tuple[int, int]]:
    pairs = []
    for edges in (graph.active, graph.inactive):
        own = graph.clip_of(edges.source) == clip
        pairs += list(zip(index[edges.source[own]], index[edges.target[own]], strict=True))
    return pairs
