"""Keyframes of many clips, one after the other, each with a window of edges: the first map of each clip."""

from __future__ import annotations

import numpy as np
import torch

from core.arrays import Int64Array
from models.slam.dense_ba import DenseBAOptions
from models.slam.factor_graph import FactorGraph, StepOptions
from models.slam.geometry import Cameras, frame_distance
from models.slam.proximity import ProximityOptions, candidates, choose_edges
from models.slam.settings import TrackerSettings

FIRST_RADIUS = 3
FIRST_STEPS = 10
FIRST_BETA = 0.25
FIRST_RESTING = 4
"""Edges of so many keyframes rest once the map has begun."""
RECENT = 5
"""New edges leave this many of the newest keyframes."""
STEPS_BEFORE, STEPS_AFTER = 8, 4
PRIOR_ALPHA = 0.05
RESTING_REACH = 3


class Frontend:
    """The keyframes of a batch of clips; all clips take their next keyframe in the same round.

    Attributes:
      keyframes: for each clip, frame numbers.
      time_of: (f,) the frame whose time each frame has: its own but for `TrackerParity.stale_times`.
    """

    def __init__(self, graph: FactorGraph, accepted: list[list[int]], settings: TrackerSettings) -> None:
        self._graph, self._accepted, self._settings = graph, accepted, settings
        self._cameras: Cameras = graph.cameras
        self._place = np.full(len(self._cameras.clip), -1)
        self.time_of = np.arange(len(self._cameras.clip))
        self.keyframes: list[list[int]] = [[] for _ in accepted]
        alpha = torch.full((len(accepted),), PRIOR_ALPHA, device=self._cameras.clip.device)
        self._full = StepOptions(bundle=DenseBAOptions(parity=settings.parity), alpha=alpha)
        self._poses_only = StepOptions(bundle=DenseBAOptions(motion_only=True), alpha=alpha)

    def run(self) -> None:
        """Begins all maps, then adds keyframe after keyframe."""
        self._begin()
        first = self._settings.warmup_keyframes
        for k in range(first, max((len(a) for a in self._accepted), default=0)):
            clips = [c for c, accepted in enumerate(self._accepted) if len(accepted) > k]
            self._insert(clips, k)

    def _begin(self) -> None:
        for clip, accepted in enumerate(self._accepted):
            self._set_keyframes(clip, accepted[: self._settings.warmup_keyframes])
        clips = [c for c, keyframes in enumerate(self.keyframes) if len(keyframes) > 1]
        pairs = []
        for c in clips:
            n = len(self.keyframes[c])
            near = [(i, j) for i in range(n) for j in range(n) if 0 < abs(i - j) <= FIRST_RADIUS]
            pairs.append((c, np.array(near)))
        self._add(pairs)
        free = [np.array(k[1:], np.int64) for k in self.keyframes]
        self._graph.step(FIRST_STEPS, free, self._poses_only)
        options = ProximityOptions(
            suppression=2, max_distance_px=self._settings.frontend_max_distance_px, beta=FIRST_BETA
        )
        self._add(find_edges(self._graph, self.keyframes, clips, options))
        self._graph.step(FIRST_STEPS, free, self._poses_only)
        self._graph.step(FIRST_STEPS, free, self._full)
        self._graph.rest(self._place[self._graph.active.source] < FIRST_RESTING)

    def _insert(self, clips: list[int], k: int) -> None:
        graph, settings = self._graph, self._settings
        for c in clips:
            self._start_keyframe(c, self._accepted[c][k])
        graph.rest(graph.active.age > settings.max_edge_age)
        options = ProximityOptions(
            suppression=1, max_distance_px=settings.frontend_max_distance_px, beta=settings.distance_beta
        )
        pairs = find_edges(graph, self.keyframes, clips, options, settings.frontend_window, self._place)
        self._rest_oldest(pairs)
        self._add(pairs)
        self._improve(STEPS_BEFORE, clips)
        kept = [c for c in clips if not self._drop_if_near(c)] if self._measure(clips) else clips
        if kept:
            self._improve(STEPS_AFTER, kept)

    def _start_keyframe(self, clip: int, frame: int) -> None:
        """Pose of the last keyframe; inverse depth of the prior, and where there is none the mean of the last four."""
        cameras, last = self._cameras, self.keyframes[clip][-1]
        cameras.rotation[frame] = cameras.rotation[last]
        cameras.translation[frame] = cameras.translation[last]
        mean = cameras.inverse_depth[self.keyframes[clip][-4:]].mean()
        cameras.inverse_depth[frame] = torch.where(cameras.prior[frame] > 0, cameras.prior[frame], mean)
        self._set_keyframes(clip, [*self.keyframes[clip], frame])

    def _improve(self, count: int, clips: list[int]) -> None:
        """Steps over the active edges; poses before the first one's stay."""
        graph = self._graph
        free = [np.zeros(0, np.int64) for _ in self.keyframes]
        since = np.zeros(len(self.keyframes), np.int64)
        active, member = self._place[graph.active.source], graph.clip_of(graph.active.source)
        for c in clips:
            since[c] = max(1, active[member == c].min() + 1)
            free[c] = np.array(self.keyframes[c][since[c] :], np.int64)
        resting = graph.resting
        ends = np.minimum(self._place[resting.source], self._place[resting.target])
        clip = graph.clip_of(resting.source)
        counted = (ends >= since[clip] - RESTING_REACH) & np.isin(clip, clips)
        graph.step(count, free, self._full, None if len(clips) == len(self.keyframes) else np.array(clips), counted)

    def _measure(self, clips: list[int]) -> bool:
        """Distances of the keyframes before the newest, in one question to the device."""
        ends = np.array([self.keyframes[c][-3:-1] for c in clips])
        i, j = torch.from_numpy(ends).to(self._cameras.clip.device).unbind(1)
        distance = frame_distance(self._cameras, i, j, self._settings.distance_beta).cpu().numpy()
        self._near = {c: d < self._settings.min_keyframe_distance_px for c, d in zip(clips, distance, strict=True)}
        return bool(any(self._near.values()))

    def _drop_if_near(self, clip: int) -> bool:
        if not self._near[clip]:
            return False
        frame = self.keyframes[clip][-2]
        if self._settings.parity.stale_times:
            self.time_of[self.keyframes[clip][-1]] = self.time_of[frame]
        self._graph.forget(np.array([frame]))
        self._place[frame] = -1
        self._set_keyframes(clip, [k for k in self.keyframes[clip] if k != frame])
        return True

    def _rest_oldest(self, pairs: list[tuple[int, Int64Array]]) -> None:
        """Makes room for new edges: the edges that have changed longest rest."""
        active = self._graph.active
        clip, oldest = self._graph.clip_of(active.source), np.zeros(len(active), bool)
        for c, new in pairs:
            own = np.flatnonzero(clip == c)
            surplus = len(own) + len(new) - self._settings.max_active_edges
            if surplus > 0:
                oldest[own[np.argsort(-active.age[own], kind="stable")[:surplus]]] = True
        self._graph.rest(oldest)

    def _add(self, pairs: list[tuple[int, Int64Array]]) -> None:
        add_edges(self._graph, self.keyframes, pairs)

    def _set_keyframes(self, clip: int, frames: list[int]) -> None:
        self.keyframes[clip] = list(frames)
        self._place[frames] = np.arange(len(frames))


def add_edges(graph: FactorGraph, frames: list[list[int]], pairs: list[tuple[int, Int64Array]]) -> None:
    """Adds edges that are given as places (n, 2) among the frames of a clip."""
    ends = [np.array(frames[c], np.int64)[places] for c, places in pairs if len(places)]
    if ends:
        graph.add(*np.concatenate(ends).T)


def find_edges(
    graph: FactorGraph,
    frames: list[list[int]],
    clips: list[int],
    options: ProximityOptions,
    window: int | None = None,
    place: Int64Array | None = None,
    edges_per_frame: float = np.inf,
) -> list[tuple[int, Int64Array]]:
    """Edges (n, 2) by proximity for each clip, as places among its frames; distances of all in one question.

    Args:
      graph: asked for the cameras, and for existing edges where `place` is given.
      frames: for each clip, the frames that can be joined.
      clips: those that are asked for.
      options: see there.
      window: only the newest frames get edges, to so many before them; none for all.
      place: of each frame among those of its clip.
      edges_per_frame: most edges, on average.
    """
    wanted = []
    for c in clips:
        n = len(frames[c])
        first, partner = (0, 0) if window is None else (max(n - RECENT, 0), max(n - window, 0))
        wanted.append((c, n, first, candidates(n, first, partner, options.radius)))
    ends = np.concatenate([np.array(frames[c], np.int64)[pairs] for c, _, _, pairs in wanted])
    i, j = torch.from_numpy(ends).to(graph.cameras.clip.device).unbind(1)
    distance = frame_distance(graph.cameras, i, j, options.beta).cpu().numpy()
    found, start = [], 0
    for c, n, first, pairs in wanted:
        own = distance[start : start + len(pairs)]
        start += len(pairs)
        existing = [] if place is None else _existing(graph, place, c)
        found.append((c, choose_edges(pairs, own, existing, n, first, edges_per_frame * n, options)))
    return found


def _existing(graph: FactorGraph, place: Int64Array, clip: int) -> list[tuple[int, int]]:
    both = []
    for edges in (graph.active, graph.resting):
        own = graph.clip_of(edges.source) == clip
        both += list(zip(place[edges.source[own]], place[edges.target[own]], strict=True))
    return both
