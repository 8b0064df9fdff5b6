"""Dense bundle adjustment with CUDA kernels: tensors in, tensors out, on the current stream."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from native.cuda.library import ask, call

if TYPE_CHECKING:
    from torch import Tensor

SUMS = 35
"""Per edge: the upper triangle of the Hessian (7, 7), row-major, and the gradient (7)."""
UPPER = 28
MAX_VARIABLES = 361
"""Maximum size of a system for `solve_systems`: fits the shared memory of all supported GPUs."""


def linearize_edges(
    cameras: Sequence[Tensor],
    source: Tensor,
    target: Tensor,
    edge: Tensor,
    target_px: Tensor,
    weight: Tensor,
    scale: float,
    min_depth: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations of edges: relative motion (6), focal length / (2 cx) and inverse depth.

    Args:
      cameras: rotation, translation, intrinsics, clip and inverse depth (float32) of `Cameras`.
      source, target: (n,) int64 frames of the edges.
      edge: (n,) int64 rows of the edges in `target_px` and `weight`; -1 gives zeros.
      target_px, weight: (e, h, w, 2) float32.
      scale: factor of the weights.
      min_depth: minimum ratio of the depth in the target to that in the source; pixels below it are ignored.

    Returns:
      (n, 35) see `SUMS`; (n, 7, p) mixed Hessian with inverse depth; (n, 2, p) Hessian and gradient of inverse depth.
    """
    slots, (_, height, width) = len(source), cameras[-1].shape
    sums = cameras[-1].new_empty(slots, SUMS)
    mixed = cameras[-1].new_empty(slots, 7, height * width)
    points = cameras[-1].new_empty(slots, 2, height * width)
    inputs = (*cameras, source, target, edge, target_px.contiguous(), weight.contiguous())
    call("sb_linearize_edges", *inputs, sums, mixed, points, slots, height * width, width, scale, min_depth)
    return sums, mixed, points


def eliminate(
    cameras: Sequence[Tensor],
    prior: Tensor,
    eta: Tensor,
    alpha: Tensor,
    frame: Tensor,
    edge: Tensor,
    mixed: Tensor,
    points: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Eliminates inverse depths by the Schur complement, per source frame (row) with d edge slots.

    Args:
      cameras: see `linearize_edges`.
      prior, eta: (f, h, w) float32, and alpha: (clips,) float32; see `models.slam.dense_ba.adjust`.
      frame: (rows,) int64, -1 for none.
      edge: (rows d,) int64, -1 in empty slots, which are the last of a row.
      mixed, points: see `linearize_edges`.

    Returns:
      Inverse Hessian, 0 if singular, and gradient (rows, p) of inverse depth; (parts, rows, 7 d, 7 d + 1) to subtract
      from the Hessian and gradient of the row's edges: the sum over parts, lower triangles.
    """
    rows, pixels = len(frame), points.shape[2]
    slots = len(edge) // rows
    inverse, gradient = (points.new_empty(rows, pixels) for _ in range(2))
    parts = ask("sb_elimination_parts", rows, slots)
    taken = points.new_empty(parts, rows, 7 * slots, 7 * slots + 1)
    clip, inverse_depth = cameras[3:]
    inputs = (points, mixed, frame, edge, clip, inverse_depth, prior, eta, alpha)
    call("sb_eliminate", *inputs, inverse, gradient, taken, rows, slots, pixels, parts)
    return inverse, gradient, taken


def build_systems(
    cameras: Sequence[Tensor],
    plan: Sequence[Tensor],
    shape: tuple[int, int, int],
    poses: int,
    with_focal: Tensor | None,
    sums: Tensor,
    taken: Tensor | None,
    damping: float,
    floor: float,
) -> tuple[Tensor, Tensor]:
    """Reduced systems of the clips, (b, n + 1, n) float64, and `motion` for `move`.

    Args:
      cameras: see `linearize_edges`.
      plan, shape, poses: edge, source, target, source_column, target_column, frame and clips of `BundlePlan`; its shape
        and poses.
      with_focal: (clips,) bool, or None.
      sums: see `linearize_edges`.
      taken: see `eliminate`; None if inverse depths are fixed.
      damping, floor: Levenberg-Marquardt damping relative to the diagonal, and absolute.

    Returns:
      Lower triangles (the upper ones are undefined), with the right-hand side in the last row; n is 6 poses + 1.
    """
    count, rows, slots = shape
    size, inner = 6 * poses + 1, 7 * slots
    motion = cameras[0].new_empty(count * rows * slots, 36)
    half = cameras[0].new_empty(count * rows, 7 + inner, inner + 1)
    damped = cameras[0].new_empty(count * rows * slots, 6)
    systems = cameras[0].new_zeros(count, size + 1, size)
    numbers = (*shape, poses, 0 if taken is None else len(taken), damping, floor)
    inputs = (*cameras, _pointers(plan), _bytes(with_focal), sums, taken)
    call("sb_build_systems", *inputs, motion, half, damped, systems, *numbers)
    return systems, motion


def solve_systems(systems: Tensor) -> Tensor:
    """Solutions (b, n) float64 of systems by Cholesky decomposition.

    Systems are (b, n + 1, n); the solution is 0 if one is not positive definite.

    See `build_systems`. The systems are overwritten; n is at most `MAX_VARIABLES`.
    """
    count, _, size = systems.shape
    steps = systems.new_empty(count, size)
    call("sb_solve_systems", systems, steps, count, size)
    return steps


def move(
    cameras: Sequence[Tensor],
    plan: Sequence[Tensor],
    shape: tuple[int, int, int],
    poses: int,
    with_focal: Tensor | None,
    free: Tensor,
    free_index: Tensor,
    steps: Tensor,
    motion: Tensor,
    points: tuple[Tensor, Tensor, Tensor] | None,
    limits: tuple[float, float, float],
) -> None:
    """Updates poses, focal lengths and inverse depths in place by the solution of the systems.

    Args:
      cameras, plan, shape, poses, with_focal: see `build_systems`.
      free, free_index: of `BundlePlan`.
      steps, motion: see `solve_systems` and `build_systems`.
      points: `mixed` of the edges, inverse Hessian and gradient of inverse depth; None if inverse depths are fixed.
      limits: minimum and maximum inverse depth; maximum relative change of a focal length.
    """
    rotation, translation, intrinsics, _, inverse_depth = cameras
    moved = (rotation, translation, intrinsics, inverse_depth)
    numbers = (*shape, poses, inverse_depth[0].numel(), len(free), *limits)
    inputs = (steps, _pointers(plan), _bytes(with_focal), free, free_index, *(points or (None,) * 3), motion)
    call("sb_move", *inputs, *moved, *numbers)


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _bytes(flags: Tensor | None) -> Tensor | None:
    import torch

    return None if flags is None else flags.view(torch.uint8)
