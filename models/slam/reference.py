"""MegaSaM's own errors, copied for comparison: what `TrackerParity` names, apart from the tracker itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.slam import dense_ba
from models.slam.bundle_plan import BundlePlan
from models.slam.dense_ba import DenseBAOptions
from models.slam.factor_graph import FactorGraph
from models.slam.frontend import Frontend
from models.slam.geometry import Cameras
from models.slam.settings import TrackerParity, TrackerSettings
from models.slam.tracker import Tracker


def tracker_for(settings: TrackerSettings) -> type[Tracker]:
    """Tracker class of the settings: `ReferenceTracker` if any parity switch is on."""
    return Tracker if settings.parity == TrackerParity() else ReferenceTracker


class ReferenceTracker(Tracker):
    """Tracker that makes the errors that `settings.parity` names."""

    def _new_graph(self) -> FactorGraph:
        return FactorGraph(self._cameras, self._predictor, partial(adjust, self._settings.parity))

    def _new_frontend(self) -> Frontend:
        if not self._settings.parity.stale_times:
            return super()._new_frontend()
        self._frontend = StaleTimesFrontend(self._new_graph(), self._select_frames(), self._settings)
        return self._frontend

    def _times_of(self, keyframes: list[int]) -> Any:
        if not self._settings.parity.stale_times:
            return super()._times_of(keyframes)
        return self._times_s[self._frontend.time_of[keyframes]]

    def _fill_trajectory(self) -> None:
        super()._fill_trajectory()
        if self._settings.parity.stale_context:
            features = self._predictor.features
            net, context = torch.zeros_like(features.net), torch.zeros_like(features.context)
            for frames, keyframes in zip(self._frames, self._keyframes, strict=True):
                first = slice(frames[0], frames[0] + len(keyframes))
                net[first], context[first] = features.net[keyframes], features.context[keyframes]
            features.net, features.context = net, context


class StaleTimesFrontend(Frontend):
    """Frontend that leaves a removed keyframe's time to the next keyframe.

    Attributes:
      time_of: (f,) the frame whose time each frame has.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.time_of = np.arange(len(self._cameras.clip))

    def _remove_keyframe(self, clip: int) -> None:
        removed, newest = self.keyframes[clip][-2:]
        self.time_of[newest] = self.time_of[removed]
        super()._remove_keyframe(clip)


def adjust(
    parity: TrackerParity,
    cameras: Cameras,
    plan: BundlePlan,
    target_px: Tensor,
    weight: Tensor,
    eta: Tensor,
    alpha: Tensor,
    with_focal: Tensor | None,
    options: DenseBAOptions,
) -> None:
    """`dense_ba.adjust` with `one_depth_step` and `skip_first_pose`."""
    inputs = (cameras, plan, target_px, weight, eta, alpha, with_focal, options)
    if options.motion_only or not (parity.one_depth_step or parity.skip_first_pose):
        dense_ba.adjust(*inputs)
        return
    for iteration in range(options.iterations):
        step, depths = dense_ba.solve_step(*inputs)
        assert depths is not None
        if not (parity.one_depth_step and with_focal is None and iteration > 0):
            followed = torch.cat([torch.zeros_like(step[:, :6]), step[:, 6:]], 1) if parity.skip_first_pose else step
            dense_ba.update_depths(cameras, plan, depths.back_substitute(followed))
        dense_ba.update_poses(cameras, plan, step, with_focal)
