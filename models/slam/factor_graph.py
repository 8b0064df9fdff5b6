"""Factor graph over the frames of many clips, and its update.

Edges have flow and a hidden state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from core.arrays import BoolArray, Int64Array
from models.slam import dense_ba
from models.slam.bundle_plan import plan_bundle
from models.slam.dense_ba import DenseBAOptions
from models.slam.features import FlowPredictor
from models.slam.geometry import Cameras, reproject
from models.slam.network import EdgeGroups

Part = tuple[slice, Tensor, Tensor, EdgeGroups]
EDGES_AT_ONCE = 192
"""Edges in a call of the update operator; those of a source frame stay together. Enough to fill a large GPU."""
DAMPING_FLOOR = 1e-7
DAMPING_START = 1e-6


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges sorted by source and target.

    Attributes:
      source, target: (e,) frames i and j.
      age: (e,) updates done.
      target_px, weight: (e, h, w, 2) float32 observed pixels of i in j, and their confidence.
      net: (e, 128, h, w) hidden states; none for inactive edges.
    """

    source: Int64Array
    target: Int64Array
    age: Int64Array
    target_px: Tensor
    weight: Tensor
    net: Tensor | None

    def __len__(self) -> int:
        return len(self.source)

    def take(self, selected: BoolArray | Int64Array) -> Edges:
        index = np.flatnonzero(selected) if selected.dtype == bool else selected
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
    """Bundle adjustment of an update; see `dense_ba.adjust`.

    Attributes:
      bundle: of the solver.
      alpha: (clips,) float32 weight of the prior.
      with_focal: (clips,) bool whose focal lengths are optimized; none for no clip's.
    """

    bundle: DenseBAOptions
    alpha: Tensor
    with_focal: Tensor | None = None


class FactorGraph:
    """Edges of many clips.

    Attributes:
      active: edges whose flow is updated.
      inactive: edges whose last observation can still take part in bundle adjustment.
      static: (f, h, w) float32 static probability (1 - motion probability), mean over a frame's edges.

    Args:
      cameras: updated in place.
      predictor: of the flow of edges.
      adjust: `dense_ba.adjust`, or a function like it.
    """

    def __init__(
        self, cameras: Cameras, predictor: FlowPredictor, adjust: Callable[..., None] = dense_ba.adjust
    ) -> None:
        self.cameras, self._predictor, self._adjust = cameras, predictor, adjust
        self._clip_of: Int64Array = cameras.clip.cpu().numpy()
        self._device = cameras.clip.device
        self.static = torch.ones_like(cameras.inverse_depth)
        self._eta = torch.full_like(cameras.inverse_depth, DAMPING_START)
        empty = np.zeros(0, np.int64)
        rows = torch.zeros(0, *cameras.inverse_depth.shape[1:], 2, device=self._device)
        self.active = Edges(empty, empty, empty, rows, rows, predictor.features.net[:0])
        self.inactive = Edges(empty, empty, empty, rows, rows, None)

    def clip_of(self, frames: Int64Array) -> Int64Array:
        """Clip indices of frames."""
        return self._clip_of[frames]

    def add(self, source: Int64Array, target: Int64Array) -> None:
        """Adds active edges that are not in the graph yet.

        Their flow is the reprojection, their weight 0.
        """
        size = len(self._clip_of)
        existing = np.concatenate([e.source * size + e.target for e in (self.active, self.inactive)])
        requested = np.unique(source * size + target)
        source, target = np.divmod(requested[~np.isin(requested, existing)], size)
        if not len(source):
            return
        i, j = self._upload(source), self._upload(target)
        coords = reproject(self.cameras, i, j)
        new = Edges(
            source,
            target,
            np.zeros(len(source), np.int64),
            coords,
            torch.zeros_like(coords),
            self._predictor.features.net[i],
        )
        self.active = self.active.join(new)

    def deactivate(self, selected: BoolArray) -> None:
        """Stops updating these active edges, but keeps their observations."""
        if selected.any():
            self.inactive = self.inactive.join(replace(self.active.take(selected), net=None))
            self.active = self.active.take(~selected)

    def remove_frames(self, frames: Int64Array) -> None:
        """Removes all edges of frames."""
        for name in ("active", "inactive"):
            edges = getattr(self, name)
            kept = ~(np.isin(edges.source, frames) | np.isin(edges.target, frames))
            if not kept.all():
                setattr(self, name, edges.take(kept))

    def update(
        self,
        count: int,
        free: list[Int64Array],
        options: StepOptions,
        clips: Int64Array | None = None,
        inactive: BoolArray | None = None,
    ) -> None:
        """Runs the update operator, then bundle adjustment, `count` times.

        Args:
          count: of updates.
          free: for each clip, the frames with free poses.
          options: of bundle adjustment.
          clips: those that take part; none for all.
          inactive: inactive edges that take part in bundle adjustment; none for none.
        """
        selected = np.ones(len(self.active), bool)
        if clips is not None:
            selected = np.isin(self.clip_of(self.active.source), clips)
        whole = bool(selected.all())
        edges = self.active if whole else self.active.take(selected)
        if not len(edges):
            return
        others = self.inactive.take(inactive) if inactive is not None and inactive.any() else None
        source, target = edges.source, edges.target
        if others is not None:
            source, target = np.concatenate([source, others.source]), np.concatenate([target, others.target])
        plan = plan_bundle(source, target, self._clip_of, free, self._device)
        parts = self._split(edges.source, edges.target)
        for _ in range(count):
            edges = self._update_flow(edges, parts)
            observed = (edges.target_px, edges.weight)
            if others is not None:
                observed = (torch.cat([observed[0], others.target_px]), torch.cat([observed[1], others.weight]))
            eta = self._eta + DAMPING_FLOOR
            self._adjust(self.cameras, plan, *observed, eta, options.alpha, options.with_focal, options.bundle)
        edges = replace(edges, age=edges.age + count)
        self.active = edges if whole else self.active.take(~selected).join(edges)

    def _upload(self, values: Int64Array) -> Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _split(self, source: Int64Array, target: Int64Array) -> list[Part]:
        """Parts of at most `EDGES_AT_ONCE` edges where possible; the edges of a source stay together."""
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

    def _update_flow(self, edges: Edges, parts: list[Part]) -> Edges:
        """Edges after one step of the update operator; their weights include the static probability."""
        assert edges.net is not None
        updates = []
        for part, i, j, groups in parts:
            coords = reproject(self.cameras, i, j)
            update = self._predictor.predict(i, j, edges.net[part], coords, edges.target_px[part], groups)
            assert update.static is not None and update.eta is not None
            self._eta[groups.frames] = update.eta
            self.static[groups.frames] = groups.mean(update.static[:, None])[:, 0]
            updates.append((coords + update.delta_px, update.weight * update.static[..., None], update.net))
        columns = updates[0] if len(updates) == 1 else [torch.cat(column) for column in zip(*updates, strict=True)]
        return Edges(edges.source, edges.target, edges.age, *columns)
