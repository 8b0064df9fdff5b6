"""Camera tracking of many clips at once: motion filter, frontend, global bundle adjustment, trajectory filling.

After MegaSaM (Li et al. 2025) with its parameters, without the errors of its code, which `reference` copies: keyframe
times move with their frames, each frame keeps its own context features, both Gauss-Newton steps update inverse depths,
and the result is the optimized depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from models.slam.bundle_plan import plan_bundle
from models.slam.dense_ba import DenseBAOptions
from models.slam.edge_terms import RESIDUAL_WEIGHT, linearize
from models.slam.factor_graph import FactorGraph, StepOptions
from models.slam.features import FlowPredictor, FrameFeatures
from models.slam.frontend import Frontend, add_edges, find_edges
from models.slam.geometry import Cameras
from models.slam.network import STRIDE, TrackingNetwork
from models.slam.proximity import ProximityOptions
from models.slam.settings import TrackerSettings
from native import se3

GLOBAL_BA = DenseBAOptions(damping=1e-5, damping_floor=1e-2)
PROBE_ALPHA = 1e-5
FILL_STEPS = 6
EMPTY_INVERSE_DEPTH = 1e-3
MAX_EDGES_AT_ONCE = 4096
"""Edges of the clips that are optimized together; the graph of a single clip may be larger."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlamInput:
    """Input of the tracker for a clip.

    All clips of a batch have images of one size.

    Attributes:
      images: (t, 3, H, W) uint8 RGB, H and W multiples of 8.
      depth: (t, H, W) float32 monocular z-depth, in a unit in which scenes measure about 1; 0 where unknown.
      intrinsics_px: (4,) fx fy cx cy in px of the images.
      times_s: (t,) increasing.
      fix_focal: whether the focal length stays fixed.
    """

    images: UInt8Array
    depth: Float32Array
    intrinsics_px: npt.ArrayLike
    times_s: npt.ArrayLike
    fix_focal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlamResult:
    """Trajectory, intrinsics and depth of a clip.

    Attributes:
      cam_from_world: (t, 7) float64 tx ty tz qx qy qz qw; the world is the first camera's frame, in the unit of depth.
      intrinsics_px: (4,) float64 in px of the images.
      inverse_depth: (t, H / 8, W / 8) float32 optimized.
      static: (t, H / 8, W / 8) float32 static probability (1 - motion probability), 0 to 1.
      keyframes: indices of the keyframes.
      focal_observed: whether the focal length was observable and optimized.
    """

    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    inverse_depth: Float32Array
    static: Float32Array
    keyframes: tuple[int, ...]
    focal_observed: bool


@torch.inference_mode()
def track_clips(
    network: TrackingNetwork,
    clips: Sequence[SlamInput],
    settings: TrackerSettings | None = None,
    make_predictor: Callable[[TrackingNetwork, FrameFeatures], FlowPredictor] = FlowPredictor,
    tracker_class: type[Tracker] | None = None,
) -> list[SlamResult]:
    """Tracks clips together, on the network's device.

    Args:
      network: see `load_tracking_network`.
      clips: at least two frames each; a batch of eight or more keeps a large GPU busy.
      settings: of the tracker.
      make_predictor: flow prediction; the network's own by default.
      tracker_class: see `reference.tracker_for`; `Tracker` by default.

    Raises:
      ValueError: if image sizes differ or are no multiples of 8, or a clip has less than two frames.
    """
    _check(clips)
    device = network.fnet.conv1.weight.device
    images = [torch.from_numpy(clip.images) for clip in clips]
    predictor = make_predictor(network, FrameFeatures(network, images, device))
    return (tracker_class or Tracker)(predictor, clips, settings or TrackerSettings(), device).run()


def _check(clips: Sequence[SlamInput]) -> None:
    for clip in clips:
        count, _, height, width = clip.images.shape
        if clip.images.shape[1:] != (3, *clips[0].images.shape[2:]):
            raise ValueError(f"clips of one batch need images of one size, got {clip.images.shape}")
        if count < 2 or height % STRIDE or width % STRIDE:
            raise ValueError(f"a clip needs two frames or more, sides multiples of 8, got {clip.images.shape}")
        if clip.depth.shape != (count, height, width) or np.shape(clip.times_s) != (count,):
            raise ValueError(f"depth {clip.depth.shape} and times {np.shape(clip.times_s)} do not match {count} frames")


class Tracker:
    """One run over a batch of clips; `reference` overrides steps of it."""

    def __init__(
        self,
        predictor: FlowPredictor,
        clips: Sequence[SlamInput],
        settings: TrackerSettings,
        device: torch.device,
    ) -> None:
        self._predictor, self._settings, self._device = predictor, settings, device
        counts = [len(clip.images) for clip in clips]
        starts = np.concatenate([[0], np.cumsum(counts)])
        self._frames = [list(range(a, b)) for a, b in pairwise(starts)]
        self._times_s = np.concatenate([np.asarray(clip.times_s, np.float64) for clip in clips])
        prior = torch.cat([_pool_inverse_depth(torch.from_numpy(clip.depth).to(device)) for clip in clips])
        intrinsics = torch.tensor(np.array([np.asarray(c.intrinsics_px, np.float64) / STRIDE for c in clips]))
        self._cameras = Cameras(
            rotation=torch.eye(3, dtype=torch.float64, device=device).repeat(len(prior), 1, 1),
            translation=torch.zeros(len(prior), 3, dtype=torch.float64, device=device),
            inverse_depth=torch.where(prior > 0, prior, EMPTY_INVERSE_DEPTH),
            prior=prior,
            intrinsics=intrinsics.to(device),
            clip=torch.from_numpy(np.repeat(np.arange(len(clips)), counts)).to(device),
        )
        self._fix_focal = [clip.fix_focal for clip in clips]
        self._alpha = torch.zeros(len(clips), device=device)
        self._with_focal = torch.zeros(len(clips), dtype=torch.bool, device=device)

    def run(self) -> list[SlamResult]:
        """Results of all clips."""
        frontend = self._new_frontend()
        frontend.run()
        self._keyframes = frontend.keyframes
        self._measure_observability()
        self._adjust_globally(self._keyframes, self._settings.keyframe_steps, self._with_focal)
        self._fill_trajectory()
        static = self._adjust_globally(self._frames, self._settings.final_steps, None)
        return self._results(static)

    def _new_graph(self) -> FactorGraph:
        return FactorGraph(self._cameras, self._predictor)

    def _new_frontend(self) -> Frontend:
        return Frontend(self._new_graph(), self._select_frames(), self._settings)

    def _times_of(self, keyframes: list[int]) -> Float64Array:
        return self._times_s[keyframes]

    def _select_frames(self) -> list[list[int]]:
        """Motion filter of DROID-SLAM: frames with enough flow from the last selected one."""
        features = self._predictor.features
        selected = [[frames[0]] for frames in self._frames]
        for k in range(1, max(len(frames) for frames in self._frames)):
            clips = [c for c, frames in enumerate(self._frames) if len(frames) > k]
            ends = torch.tensor([[selected[c][-1], self._frames[c][k]] for c in clips], device=self._device)
            i, j = ends.unbind(1)
            grid = features.grid.expand(len(clips), -1, -1, -1)
            update = self._predictor.predict(i, j, features.net[i], grid, grid, None)
            motion = torch.linalg.vector_norm(update.delta_px, dim=3).mean((1, 2)).tolist()
            for c, length in zip(clips, motion, strict=True):
                if length > self._settings.min_motion_px or k == len(self._frames[c]) - 1:
                    selected[c].append(self._frames[c][k])
        return selected

    def _measure_observability(self) -> None:
        """Decides from the Hessian of a trial adjustment what is optimized (MegaSaM, uncertainty-aware global BA).

        Focal lengths are optimized where they are observable, and the prior holds inverse depths where these are not.
        The cameras are restored.
        """
        cameras, settings = self._cameras, self._settings
        saved = [t.clone() for t in (cameras.rotation, cameras.translation, cameras.inverse_depth)]
        self._alpha.fill_(PROBE_ALPHA)

        def measure(graph: FactorGraph, clips: list[int]) -> None:
            for c in clips:
                of_depth, of_focal = self._curvature(graph, c)
                is_free = settings.optimize_focal and not self._fix_focal[c]
                self._with_focal[c] = is_free and of_focal >= settings.min_focal_curvature
                weak = of_depth < settings.max_prior_curvature
                self._alpha[c] = PROBE_ALPHA * math.exp(-0.1 * of_depth) if weak else 0.0

        self._adjust_globally(self._keyframes, settings.probe_steps, None, measure)
        for tensor, values in zip((cameras.rotation, cameras.translation, cameras.inverse_depth), saved, strict=True):
            tensor.copy_(values)

    def _curvature(self, graph: FactorGraph, clip: int) -> tuple[float, float]:
        """Hessian diagonal: median over pixels of inverse depth, and of the focal length in px."""
        edges = graph.active.take(graph.clip_of(graph.active.source) == clip)
        free = [np.zeros(0, np.int64)] * len(self._frames)
        clip_of = self._cameras.clip.cpu().numpy()
        plan = plan_bundle(edges.source, edges.target, clip_of, free, self._device)
        terms = linearize(self._cameras, plan, edges.target_px, torch.ones_like(edges.weight))
        _, k, d = plan.shape
        of_depth = terms.depth[:, 0].reshape(k, d, -1).sum(1).median() / RESIDUAL_WEIGHT
        scale = RESIDUAL_WEIGHT * (2 * self._cameras.intrinsics[clip, 2]) ** 2
        of_focal = terms.hessian[:, 6, 6].double().sum() / scale
        return float(of_depth), float(of_focal)

    def _adjust_globally(
        self,
        frames: list[list[int]],
        steps: int,
        with_focal: Tensor | None,
        measure: Callable[[FactorGraph, list[int]], None] | None = None,
    ) -> Tensor:
        """Global bundle adjustment over a graph of these frames; `measure` gets the graph. Static probability."""
        graph = self._new_graph()
        options = ProximityOptions(
            suppression=3,
            max_distance_px=self._settings.backend_max_distance_px,
            beta=self._settings.distance_beta,
        )
        edges_per_frame = self._settings.backend_edges_per_frame
        pairs = find_edges(graph, frames, list(range(len(frames))), options, edges_per_frame=edges_per_frame)
        free = [np.array(own[1:], np.int64) for own in frames]
        static = graph.static.clone()
        for group in _group(pairs):
            graph = self._new_graph()
            add_edges(graph, frames, group)
            graph.update(steps, free, StepOptions(bundle=GLOBAL_BA, alpha=self._alpha, with_focal=with_focal))
            clips = [c for c, _ in group]
            if measure is not None:
                measure(graph, clips)
            own = torch.from_numpy(np.concatenate([frames[c] for c in clips])).to(self._device)
            static[own] = graph.static[own]
        return static

    def _fill_trajectory(self) -> None:
        """Poses of the other frames: interpolated between keyframes, then motion-only bundle adjustment."""
        poses = self._poses()
        free: list[Int64Array] = []
        edges = []
        for frames, keyframes in zip(self._frames, self._keyframes, strict=True):
            between = np.setdiff1d(frames, keyframes)
            free.append(between)
            times_s = self._times_of(keyframes)
            after = np.searchsorted(times_s, self._times_s[between], side="right")
            before, after = after - 1, np.minimum(after, len(keyframes) - 1)
            a, b = (np.array(keyframes, np.int64)[k] for k in (before, after))
            span_s = times_s[after] - times_s[before]
            share = (self._times_s[between] - times_s[before]) / np.where(span_s > 0, span_s, np.inf)
            poses[between] = se3.interpolate(poses[a], poses[b], share)
            edges += [np.stack([a, between], 1), np.stack([b, between], 1)]
        filled = np.concatenate(free)
        if not len(filled):
            return
        matrices = torch.from_numpy(se3.to_matrix(poses[filled])).to(self._device)
        rows = torch.from_numpy(filled).to(self._device)
        self._cameras.rotation[rows], self._cameras.translation[rows] = matrices[:, :3, :3], matrices[:, :3, 3]
        graph = self._new_graph()
        graph.add(*np.concatenate(edges).T)
        graph.update(FILL_STEPS, free, StepOptions(bundle=DenseBAOptions(motion_only=True), alpha=self._alpha))

    def _poses(self) -> Float64Array:
        matrices = np.tile(np.eye(4), (len(self._times_s), 1, 1))
        matrices[:, :3, :3] = self._cameras.rotation.cpu().numpy()
        matrices[:, :3, 3] = self._cameras.translation.cpu().numpy()
        return se3.from_matrix(matrices)

    def _results(self, static: Tensor) -> list[SlamResult]:
        poses, intrinsics = self._poses(), self._cameras.intrinsics.cpu().numpy() * STRIDE
        inverse_depth, static_maps = self._cameras.inverse_depth.cpu().numpy(), static.cpu().numpy()
        observed = self._with_focal.tolist()
        return [
            SlamResult(
                cam_from_world=poses[frames],
                intrinsics_px=intrinsics[c],
                inverse_depth=inverse_depth[frames],
                static=static_maps[frames],
                keyframes=tuple(k - frames[0] for k in self._keyframes[c]),
                focal_observed=observed[c],
            )
            for c, frames in enumerate(self._frames)
        ]


def _pool_inverse_depth(depth: Tensor) -> Tensor:
    """Inverse of the mean known depth of 8 x 8 cells; 0 where unknown."""
    cells = depth.unflatten(2, (-1, STRIDE)).unflatten(1, (-1, STRIDE))
    known = (cells > 0).sum((2, 4))
    return torch.where(known > 0, known / cells.clamp(min=0).sum((2, 4)).clamp(min=1e-12), 0.0)


def _group(pairs: list[tuple[int, Int64Array]]) -> list[list[tuple[int, Int64Array]]]:
    """Groups of clips with at most `MAX_EDGES_AT_ONCE` edges together."""
    groups: list[list[tuple[int, Int64Array]]] = []
    room = 0
    for clip, edges in pairs:
        if not groups or len(edges) > room:
            groups.append([])
            room = MAX_EDGES_AT_ONCE
        groups[-1].append((clip, edges))
        room -= len(edges)
    return groups
