"""Edges between frames of many clips, with what the network knows of each, and one step that improves all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from core.arrays import BoolArray, Int64Array
from models.slam.bundle_plan import plan_bundle
from models.slam.dense_ba import DenseBAOptions, adjust
from models.slam.features import FlowPredictor
from models.slam.geometry import Cameras, reproject
from models.slam.network import EdgeGroups

Part = tuple[slice, Tensor, Tensor, EdgeGroups]
EDGES_AT_ONCE = 192
"""In one call of the operator; a frame's edges stay together. Enough to fill a large GPU."""
DAMPING_FLOOR = 1e-7
DAMPING_START = 1e-6


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges sorted by source and target.

    Attributes:
      source, target: (e,) frames i and j.
      age: (e,) steps done.
      target_px, weight: (e, h, w, 2) float32 where pixels of i were seen in j, and how sure that is.
      net: (e, 128, h, w) hidden states; none for edges at rest.
    """

    source: Int64Array
    target: Int64Array
    age: Int64Array
    target_px: Tensor
    weight: Tensor
    net: Tensor | None

    def __len__(self) -> int:
        return len(self.source)

    def take(self, chosen: BoolArray | Int64Array) -> Edges:
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        rows = torch.from_numpy(index).to(self.weight.device, non_blocking=True)
        return Edges(
            self.source[index],
            self.target[index],
            self.age[index],
            self.target_px[rows],
            self.weight[rows],
            None if self.net is None else self.net[rows],
        )

    def join(self, other: Edges) -> Edges:
        source, target = (np.concatenate([getattr(x, k) for x in (self, other)]) for k in ("source", "target"))
        joined = Edges(
            source,
            target,
            np.concatenate([self.age, other.age]),
            torch.cat([self.target_px, other.target_px]),
            torch.cat([self.weight, other.weight]),
            None if self.net is None or other.net is None else torch.cat([self.net, other.net]),
        )
        order = np.lexsort((target, source))
        return joined if (np.diff(order) == 1).all() else joined.take(order)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step adjusts the cameras.

    Attributes:
      bundle: see `dense_ba`.
      alpha: (clips,) float32 weight of the prior.
      with_focal: (clips,) bool; none for no clip.
    """

    bundle: DenseBAOptions
    alpha: Tensor
    with_focal: Tensor | None = None


class FactorGraph:
    """Edges of many clips.

    Attributes:
      active: edges that steps change.
      resting: edges whose last observation still counts where it is asked for.
      static: (f, h, w) float32 how likely pixels stand still, mean over the edges of a frame, of the last step.
    """

    def __init__(self, cameras: Cameras, predictor: FlowPredictor) -> None:
        self.cameras, self._predictor = cameras, predictor
        self._clip_of: Int64Array = cameras.clip.cpu().numpy()
        self._device = cameras.clip.device
        self.static = torch.ones_like(cameras.inverse_depth)
        self._eta = torch.full_like(cameras.inverse_depth, DAMPING_START)
        empty = np.zeros(0, np.int64)
        rows = torch.zeros(0, *cameras.inverse_depth.shape[1:], 2, device=self._device)
        self.active = Edges(empty, empty, empty, rows, rows, predictor.features.net[:0])
        self.resting = Edges(empty, empty, empty, rows, rows, None)

    def clip_of(self, frames: Int64Array) -> Int64Array:
        """Clips of frames."""
        return self._clip_of[frames]

    def add(self, source: Int64Array, target: Int64Array) -> None:
        """New edges, where there are none yet, active or resting; they begin as the cameras say, with weight 0."""
        size = len(self._clip_of)
        known = np.concatenate([e.source * size + e.target for e in (self.active, self.resting)])
        wanted = np.unique(source * size + target)
        source, target = np.divmod(wanted[~np.isin(wanted, known)], size)
        if not len(source):
            return
        i, j = self._upload(source), self._upload(target)
        expected = reproject(self.cameras, i, j)
        new = Edges(
            source,
            target,
            np.zeros(len(source), np.int64),
            expected,
            torch.zeros_like(expected),
            self._predictor.features.net[i],
        )
        self.active = self.active.join(new)

    def rest(self, chosen: BoolArray) -> None:
        """Stops changing these active edges, but keeps what they saw."""
        if chosen.any():
            self.resting = self.resting.join(replace(self.active.take(chosen), net=None))
            self.active = self.active.take(~chosen)

    def forget(self, frames: Int64Array) -> None:
        """Drops all edges of frames."""
        for name in ("active", "resting"):
            edges = getattr(self, name)
            kept = ~(np.isin(edges.source, frames) | np.isin(edges.target, frames))
            if not kept.all():
                setattr(self, name, edges.take(kept))

    def step(
        self,
        count: int,
        free: list[Int64Array],
        options: StepOptions,
        clips: Int64Array | None = None,
        resting: BoolArray | None = None,
    ) -> None:
        """Improves flow, then cameras, `count` times.

        Args:
          count: of steps.
          free: for each clip, the frames whose poses move.
          options: see there.
          clips: those that take part; none for all.
          resting: which resting edges count in the adjustment too; none for none.
        """
        chosen = np.ones(len(self.active), bool)
        if clips is not None:
            chosen = np.isin(self.clip_of(self.active.source), clips)
        whole = bool(chosen.all())
        edges = self.active if whole else self.active.take(chosen)
        if not len(edges):
            return
        others = self.resting.take(resting) if resting is not None and resting.any() else None
        source, target = edges.source, edges.target
        if others is not None:
            source, target = np.concatenate([source, others.source]), np.concatenate([target, others.target])
        plan = plan_bundle(source, target, self._clip_of, free, self._device)
        parts = self._split(edges.source, edges.target)
        for _ in range(count):
            edges = self._observe(edges, parts)
            seen = (edges.target_px, edges.weight)
            if others is not None:
                seen = (torch.cat([seen[0], others.target_px]), torch.cat([seen[1], others.weight]))
            eta = self._eta + DAMPING_FLOOR
            adjust(self.cameras, plan, *seen, eta, options.alpha, options.with_focal, options.bundle)
        edges = replace(edges, age=edges.age + count)
        self.active = edges if whole else self.active.take(~chosen).join(edges)

    def _upload(self, values: Int64Array) -> Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _split(self, source: Int64Array, target: Int64Array) -> list[Part]:
        """Parts of about `EDGES_AT_ONCE` edges, with all edges of each source."""
        ends = [*np.flatnonzero(np.diff(source)) + 1, len(source)]
        parts, begin, last = [], 0, 0
        for end in ends:
            if end - begin > EDGES_AT_ONCE and last > begin:
                parts.append(slice(begin, last))
                begin = last
            last = int(end)
        parts.append(slice(begin, last))
        return [
            (part, self._upload(source[part]), self._upload(target[part]), EdgeGroups(source[part], self._device))
            for part in parts
        ]

    def _observe(self, edges: Edges, parts: list[Part]) -> Edges:
        assert edges.net is not None
        done = []
        for part, i, j, groups in parts:
            coords = reproject(self.cameras, i, j)
            found = self._predictor.predict(i, j, edges.net[part], coords, edges.target_px[part], groups)
            assert found.static is not None and found.eta is not None
            self._eta[groups.frames] = found.eta
            self.static[groups.frames] = groups.mean(found.static[:, None])[:, 0]
            done.append((coords + found.delta_px, found.weight * found.static[..., None], found.net))
        columns = done[0] if len(done) == 1 else [torch.cat(column) for column in zip(*done, strict=True)]
        return Edges(edges.source, edges.target, edges.age, *columns)
