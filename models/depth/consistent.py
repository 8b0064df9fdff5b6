"""Consistent video depth: maps of single frames, made to agree along the camera's path, after MegaSaM.

First each frame gets a scale and a shift, then each pixel its own value; a certainty for each pixel is found with
them. 100 and 400 steps of Adam. On a GPU a step is recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from core.arrays import Float32Array
from models.depth.consistency_losses import (
    MAX_CERTAINTY,
    MAX_INVERSE_DEPTH,
    MIN_CERTAINTY,
    MIN_INVERSE_DEPTH,
    FrameLosses,
    PairGeometry,
    measure_agreement,
    pair_loss,
)
from models.depth.settings import ConsistencySettings
from models.flow.raft_clip import ClipFlow
from native import se3

MAX_FIRST_CERTAINTY, MIN_FIRST_CERTAINTY = 0.5, 1e-3
FIRST_RATE, SECOND_RATE = 1e-2, 5e-3
FIRST_NORMAL_WEIGHT = 4.0
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConsistentDepth:
    """Depth that agrees along a clip.

    Attributes:
      inverse_depth: (t, H, W) float32 in the unit of the poses.
      certainty: (t, H / 2, W / 2) float32 found with it; low where things move.
      disagreement: (t, H / 2, W / 2) float32 how much depths of neighboring frames differ, as a share; NaN unknown.
      residual_px: (t,) float32 distance between where depth and poses put static pixels in other frames and where the
        flow does, in px of the pictures; NaN unknown.
      first_loss, last_loss: of the second kind of steps.
    """

    inverse_depth: Float32Array
    certainty: Float32Array
    disagreement: Float32Array
    residual_px: Float32Array
    first_loss: float
    last_loss: float


def make_consistent(
    inverse_depth: Float32Array,
    static: Float32Array,
    cam_from_world: npt.ArrayLike,
    intrinsics_px: npt.ArrayLike,
    flow: ClipFlow,
    settings: ConsistencySettings | None = None,
) -> ConsistentDepth:
    """Makes the depth of a clip's frames agree; runs on the device of the flow.

    Args:
      inverse_depth: (t, H, W) float32 in about the unit of the poses; what is not above 0 is far.
      static: (t, H / 8, W / 8) float32 from 0 to 1, how likely pixels stand still.
      cam_from_world: (t, 7).
      intrinsics_px: (4,) fx fy cx cy in px of the maps.
      flow: between frames, at half the maps' size.
      settings: see there.
    """
    settings = settings or ConsistencySettings()
    device = flow.flow_px.device
    matrices = torch.from_numpy(se3.to_matrix(cam_from_world)).to(device)
    camera = torch.from_numpy(np.asarray(intrinsics_px, np.float64) / 2).to(device)
    pairs = PairGeometry.from_cameras(flow, matrices[:, :3, :3], matrices[:, :3, 3], camera)
    start = functional.avg_pool2d(torch.from_numpy(inverse_depth).to(device), 2)
    certainty = functional.interpolate(torch.from_numpy(static).to(device)[:, None], scale_factor=4.0, mode="bilinear")
    certainty = certainty[:, 0].clamp(MIN_FIRST_CERTAINTY, MAX_FIRST_CERTAINTY)
    frames = FrameLosses(start, camera.float())
    found, certainty, losses = _optimize(start, certainty, pairs, frames, settings)
    is_static = functional.interpolate(torch.from_numpy(static).to(device)[:, None], scale_factor=4.0)[:, 0] > 0.5
    disagreement, residual_px = measure_agreement(_limit(found), is_static, pairs)
    full = functional.interpolate(found[:, None], scale_factor=2.0, mode="bilinear")[:, 0]
    return ConsistentDepth(
        inverse_depth=full.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH).cpu().numpy(),
        certainty=certainty.cpu().numpy(),
        disagreement=disagreement.cpu().numpy(),
        residual_px=2 * residual_px.cpu().numpy(),
        first_loss=losses[0],
        last_loss=losses[1],
    )


def _optimize(
    start: Tensor, certainty: Tensor, pairs: PairGeometry, frames: FrameLosses, settings: ConsistencySettings
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    log_scale, shift = (start.new_zeros(len(start), 1, 1, requires_grad=True) for _ in range(2))
    certainty = certainty.clone().requires_grad_()
    frames.set_reference(_limit(start))

    def align() -> Tensor:
        moved = _limit(start * log_scale.exp() + shift)
        agreement = pair_loss(moved, certainty.clamp(MIN_CERTAINTY, MAX_CERTAINTY), pairs)
        return agreement + frames(moved, FIRST_NORMAL_WEIGHT, settings.gradient_weight)

    _descend(align, [log_scale, shift, certainty], FIRST_RATE, 1 if settings.parity else settings.align_steps)
    aligned = (start * log_scale.exp() + shift).detach()
    frames.set_reference(_limit(aligned))
    depth = aligned.clone().requires_grad_()

    def refine() -> Tensor:
        limited = _limit(depth)
        agreement = pair_loss(limited, certainty.clamp(MIN_CERTAINTY, MAX_CERTAINTY), pairs)
        return agreement + frames(limited, settings.normal_weight, settings.gradient_weight)

    losses = _descend(refine, [depth, certainty], SECOND_RATE, 1 if settings.parity else settings.refine_steps)
    return depth.detach(), certainty.detach(), losses


def _limit(inverse_depth: Tensor) -> Tensor:
    return inverse_depth.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)


def _descend(
    loss_of: Callable[[], Tensor], variables: Sequence[Tensor], rate: float, steps: int
) -> tuple[float, float]:
    """Steps of Adam; gradients that are no numbers count as 0. First and last loss."""
    on_gpu = variables[0].is_cuda
    optimizer = torch.optim.Adam(variables, lr=rate, capturable=on_gpu)

    def step() -> Tensor:
        loss = loss_of()
        gradients = torch.autograd.grad(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = torch.nan_to_num(gradient, nan=0.0, posinf=None, neginf=None)
        optimizer.step()
        return loss.detach()

    if not on_gpu:
        losses = [step() for _ in range(steps)]
        return float(losses[0]), float(losses[-1])
    with _recorder() as recorder:
        return recorder.run(step, steps)


class _Recorder:
    """Records a step on the GPU and replays it.

    Recording wants a stream of its own, and memory that stays with what is recorded. Both serve one clip after the
    other: new ones each time would be kept by PyTorch until the GPU is full.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, step: Callable[[], Tensor], steps: int) -> tuple[float, float]:
        """Takes steps; first and last loss."""
        # Recording wants the steps before it on its stream, too.
        with self._aside():
            losses = [step() for _ in range(min(steps, WARM_UP_STEPS))]
        first, last = losses[0], losses[-1]
        if steps > len(losses):
            graph, last = self._record(step)
            for _ in range(steps - len(losses)):
                graph.replay()
        return float(first), float(last)

    def _record(self, step: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Other threads may use the GPU meanwhile."""
        graph, pool = torch.cuda.CUDAGraph(), None if self._graph is None else self._graph.pool()
        with self._aside():
            graph.capture_begin(pool, "thread_local")
            try:
                loss = step()
            finally:
                graph.capture_end()
        self._graph = graph
        return graph, loss

    @contextmanager
    def _aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)


_idle: list[_Recorder] = []


@contextmanager
def _recorder() -> Iterator[_Recorder]:
    """One that no other thread uses."""
    try:
        recorder = _idle.pop()
    except IndexError:
        recorder = _Recorder()
    yield recorder
    # After an error it may be half recorded, and is dropped.
    _idle.append(recorder)
