"""Consistent video depth (CVD, Kopf et al. 2021), as in MegaSaM (Li et al. 2025).

Adam first optimizes a scale and a shift of each frame, then the inverse depth of each pixel, and in both stages the
confidence of each pixel. On a GPU a step is captured as CUDA graph and replayed.
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
    MAX_CONFIDENCE,
    MAX_INVERSE_DEPTH,
    MIN_CONFIDENCE,
    MIN_INVERSE_DEPTH,
    FrameLosses,
    PairGeometry,
    measure_consistency,
    pair_loss,
)
from models.depth.settings import ConsistencySettings
from models.flow.raft_clip import ClipFlow
from native import se3

MAX_INITIAL_CONFIDENCE, MIN_INITIAL_CONFIDENCE = 0.5, 1e-3
ALIGN_LEARNING_RATE, REFINE_LEARNING_RATE = 1e-2, 5e-3
ALIGN_NORMAL_WEIGHT = 4.0
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConsistentDepth:
    """Consistent depth of a clip.

    Attributes:
      inverse_depth: (t, H, W) float32 in the unit of the poses.
      disagreement: (t, H / 2, W / 2) float32 mean relative depth residual between frames, NaN where unknown.
      residual_px: (t,) float32 median flow residual of static pixels in px of the frames, NaN where unknown.
      first_loss, last_loss: of the per-pixel stage.
    """

    inverse_depth: Float32Array
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
    """Optimizes the depth of a clip for consistency, on the device of the flow.

    Args:
      inverse_depth: (t, H, W) float32 monocular depth, about in the unit of the poses; 0 or below is far.
      static: (t, H / 8, W / 8) float32 static probability, 0 to 1.
      cam_from_world: (t, 7).
      intrinsics_px: (4,) fx fy cx cy in px of the maps.
      flow: of pairs of frames, at half the size of the maps.
      settings: steps and weights.
    """
    settings = settings or ConsistencySettings()
    device = flow.flow_px.device
    matrices = torch.from_numpy(se3.to_matrix(cam_from_world)).to(device)
    camera = torch.from_numpy(np.asarray(intrinsics_px, np.float64) / 2).to(device)
    pairs = PairGeometry.from_cameras(flow, matrices[:, :3, :3], matrices[:, :3, 3], camera)
    start = functional.avg_pool2d(torch.from_numpy(inverse_depth).to(device), 2)
    confidence = functional.interpolate(torch.from_numpy(static).to(device)[:, None], scale_factor=4.0, mode="bilinear")
    confidence = confidence[:, 0].clamp(MIN_INITIAL_CONFIDENCE, MAX_INITIAL_CONFIDENCE)
    frames = FrameLosses(start, camera.float())
    found, losses = _optimize(start, confidence, pairs, frames, settings)
    is_static = functional.interpolate(torch.from_numpy(static).to(device)[:, None], scale_factor=4.0)[:, 0] > 0.5
    disagreement, residual_px = measure_consistency(_limit(found), is_static, pairs)
    full = functional.interpolate(found[:, None], scale_factor=2.0, mode="bilinear")[:, 0]
    return ConsistentDepth(
        inverse_depth=full.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH).cpu().numpy(),
        disagreement=disagreement.cpu().numpy(),
        residual_px=2 * residual_px.cpu().numpy(),
        first_loss=losses[0],
        last_loss=losses[1],
    )


def _optimize(
    start: Tensor, confidence: Tensor, pairs: PairGeometry, frames: FrameLosses, settings: ConsistencySettings
) -> tuple[Tensor, tuple[float, float]]:
    log_scale, shift = (start.new_zeros(len(start), 1, 1, requires_grad=True) for _ in range(2))
    confidence = confidence.clone().requires_grad_()
    frames.set_reference(_limit(start))

    def align() -> Tensor:
        aligned = _limit(start * log_scale.exp() + shift)
        pairwise = pair_loss(aligned, confidence.clamp(MIN_CONFIDENCE, MAX_CONFIDENCE), pairs)
        return pairwise + frames(aligned, ALIGN_NORMAL_WEIGHT, settings.gradient_weight)

    _minimize(align, [log_scale, shift, confidence], ALIGN_LEARNING_RATE, settings.align_steps)
    aligned = (start * log_scale.exp() + shift).detach()
    frames.set_reference(_limit(aligned))
    depth = aligned.clone().requires_grad_()

    def refine() -> Tensor:
        limited = _limit(depth)
        pairwise = pair_loss(limited, confidence.clamp(MIN_CONFIDENCE, MAX_CONFIDENCE), pairs)
        return pairwise + frames(limited, settings.normal_weight, settings.gradient_weight)

    losses = _minimize(refine, [depth, confidence], REFINE_LEARNING_RATE, settings.refine_steps)
    return depth.detach(), losses


def _limit(inverse_depth: Tensor) -> Tensor:
    return inverse_depth.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)


def _minimize(
    loss_of: Callable[[], Tensor], variables: Sequence[Tensor], learning_rate: float, steps: int
) -> tuple[float, float]:
    """First and last loss of steps of Adam; NaN gradients count as 0."""
    on_gpu = variables[0].is_cuda
    optimizer = torch.optim.Adam(variables, lr=learning_rate, capturable=on_gpu)

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
    with _step_graph() as step_graph:
        return step_graph.run(step, steps)


class _StepGraph:
    """Captures a step as CUDA graph and replays it.

    A capture needs its own stream and memory pool. Both are reused from clip to clip, because PyTorch would keep the
    memory of new ones until the GPU is full.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(self, step: Callable[[], Tensor], steps: int) -> tuple[float, float]:
        """First and last loss of so many steps."""
        # Warm-up steps must run on the stream of the capture.
        with self._on_stream():
            losses = [step() for _ in range(min(steps, WARM_UP_STEPS))]
        first, last = losses[0], losses[-1]
        if steps > len(losses):
            graph, last = self._capture(step)
            for _ in range(steps - len(losses)):
                graph.replay()
        return float(first), float(last)

    def _capture(self, step: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Capture in thread-local mode: other threads may use the GPU meanwhile."""
        graph, pool = torch.cuda.CUDAGraph(), None if self._graph is None else self._graph.pool()
        with self._on_stream():
            graph.capture_begin(pool, "thread_local")
            try:
                loss = step()
            finally:
                graph.capture_end()
        self._graph = graph
        return graph, loss

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)


_idle: list[_StepGraph] = []


@contextmanager
def _step_graph() -> Iterator[_StepGraph]:
    """A graph that no other thread uses."""
    try:
        step_graph = _idle.pop()
    except IndexError:
        step_graph = _StepGraph()
    yield step_graph
    # Dropped after an error, which may leave it half captured.
    _idle.append(step_graph)
