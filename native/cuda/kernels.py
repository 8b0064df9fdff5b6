"""Faces of the CUDA kernels: tensors in, tensors out, on the current stream."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from native.cuda.build import LIBRARY

if TYPE_CHECKING:
    from torch import Tensor


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(str(LIBRARY)) if LIBRARY.exists() else None


def usable_for(tensor: Tensor) -> bool:
    """Whether the kernels were built, and the tensor is on a GPU."""
    return bool(tensor.is_cuda) and _library() is not None


def look_up_correlation(
    volume: Tensor, coords_px: Tensor, levels: Sequence[tuple[int, int, int]], radius: int
) -> Tensor:
    """Bilinear look-up in windows on four levels.

    Args:
      volume: (e, p, columns) float16.
      coords_px: (e, p, 2) float32 places (x, y) on the first level.
      levels: height, width and first column of the four levels.
      radius: 3 or 4.

    Returns:
      (e, p, channels) float16: level, x offset, y offset; zero outside, and in those that fill up to a multiple of 8.
    """
    edges, pixels, columns = volume.shape
    channels = 4 * (2 * radius + 1) ** 2
    out = volume.new_empty(edges, pixels, -(-channels // 8) * 8)
    shape = (ctypes.c_int * 12)(*(number for level in levels for number in level))
    _call("sb_look_up_correlation", volume, coords_px, out, edges * pixels, columns, shape, radius)
    return out


def linearise_edges(
    poses: Tensor,
    inverse_depth: Tensor,
    source: Tensor,
    edge: Tensor,
    target_px: Tensor,
    weight: Tensor,
    scale: float,
    min_depth: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of edges' residuals and derivatives by motion (6), focal length / (2 cx) and inverse depth.

    Args:
      poses: (n, 16) float32 rotation row by row and translation of the edges, and fx fy cx cy.
      inverse_depth: (f, h, w) float32.
      source: (n,) int64 their source frames.
      edge: (n,) int64 their rows in the next two; -1 gives zeros.
      target_px, weight: (e, h, w, 2) float32.
      scale: of the weights.
      min_depth: pixels of less depth in the target, in units of their own depth, do not count.

    Returns:
      (n, 35): upper triangle of the curvature (7, 7), then the gradient (7); (n, 7, p) products with the derivative by
      inverse depth; (n, 2, p) curvature and gradient by inverse depth.
    """
    slots, (_, height, width) = len(source), inverse_depth.shape
    sums = poses.new_empty(slots, 35)
    mixed = poses.new_empty(slots, 7, height * width)
    points = poses.new_empty(slots, 2, height * width)
    inputs = (poses, inverse_depth, source, edge, target_px.contiguous(), weight.contiguous())
    _call("sb_linearise_edges", *inputs, sums, mixed, points, slots, height * width, width, scale, min_depth)
    return sums, mixed, points


UPPER = 28
"""Numbers in the upper triangle of a matrix (7, 7)."""


@lru_cache(maxsize=8)
def full_from_upper(device: Any) -> Tensor:
    """(49,) int64 where each element of a symmetric matrix (7, 7) is in its upper triangle, row by row."""
    import torch

    place = torch.zeros(7, 7, dtype=torch.int64)
    upper = torch.triu_indices(7, 7)
    place[upper[0], upper[1]] = place[upper[1], upper[0]] = torch.arange(UPPER)
    return place.flatten().to(device)


def carry_edges(
    rotation: Tensor,
    translation: Tensor,
    intrinsics: Tensor,
    clip: Tensor,
    edge: Tensor,
    source: Tensor,
    target: Tensor,
    source_column: Tensor,
    target_column: Tensor,
    with_focal: Tensor | None,
    poses: int,
) -> tuple[Tensor, Tensor]:
    """Edges' own motions and cameras (s, 16) float32, and `EdgeTerms.carry` (s, 7, 6 poses + 1) float64.

    Args:
      rotation, translation, intrinsics, clip: see `Cameras`.
      edge, source, target, source_column, target_column, poses: see `BundlePlan`.
      with_focal: (clips,) bool, or none.
    """
    slots = len(edge)
    pose = rotation.new_empty(slots, 16).float()
    carry = rotation.new_zeros(slots, 7, 6 * poses + 1)
    focal = None if with_focal is None else with_focal.byte()
    columns = (edge, source, target, source_column, target_column)
    _call("sb_carry_edges", rotation, translation, intrinsics, clip, *columns, focal, pose, carry, slots, poses)
    return pose, carry


def sum_points(
    points: Tensor,
    frame: Tensor,
    clip: Tensor,
    inverse_depth: Tensor,
    prior: Tensor,
    eta: Tensor,
    alpha: Tensor,
    slots: int,
) -> tuple[Tensor, Tensor]:
    """1 / curvature and gradient (rows, p) of the inverse depths of frames (rows,), -1 for none.

    Args:
      points: (rows * slots, 2, p) float32.
      frame: (rows,) int64.
      clip: (f,) int64.
      inverse_depth, prior, eta: (f, h, w) float32.
      alpha: (clips,) float32.
      slots: edges of a row.
    """
    rows, pixels = len(frame), points.shape[2]
    inverse, gradient = (points.new_empty(rows, pixels) for _ in range(2))
    inputs = (points, frame, clip, inverse_depth, prior, eta, alpha)
    _call("sb_sum_points", *inputs, inverse, gradient, rows, slots, pixels)
    return inverse, gradient


def retract(step: Tensor, free: Tensor, place: Tensor, rotation: Tensor, translation: Tensor, poses: int) -> None:
    """Moves `rotation` and `translation` of the free frames in place by exp of a step (b, 6 poses + 1) float64."""
    _call("sb_retract", step.contiguous(), free, place, rotation, translation, len(free), poses)


FIXED_POINT = float(1 << 28)


def pair_loss(
    inverse_depth: Tensor,
    certainty: Tensor,
    flow_px: Tensor,
    mask: Tensor,
    motion: Tensor,
    second: Tensor,
    first_pair: Tensor,
    camera: Tensor,
    flow_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth ratio and flow losses of pairs of frames, means over counted pixels, and their gradients.

    Args:
      inverse_depth, certainty: (t, h, w) float32 above 0.
      flow_px: (p, h, w, 2) float16 of pairs sorted by first frame; mask: (p, h, w) uint8 where it can be trusted.
      motion: (p, 12) float32 rotation times inverse camera matrix row by row, and translation.
      second: (p,) int64 second frames; first_pair: (t + 1,) int64 where each frame's pairs begin.
      camera: (4,) float32 fx fy cx cy.
      flow_weight: of the flow loss.

    Returns:
      Loss () float64, gradients (t, h, w) float32 by inverse depth and by certainty.
    """
    import torch

    frames, height, width = inverse_depth.shape
    own, by_certainty = torch.empty_like(inverse_depth), torch.empty_like(inverse_depth)
    other = torch.zeros_like(inverse_depth, dtype=torch.int64)
    sums = inverse_depth.new_empty(frames * -(-height * width // 256), 2, dtype=torch.float64)
    maps = (inverse_depth, certainty, flow_px, mask, motion, second, first_pair, camera)
    inputs = [values.contiguous() for values in maps]
    outputs = (own, other, by_certainty, sums)
    _call("sb_pair_loss", *inputs, *outputs, frames, width, height, flow_weight, FIXED_POINT)
    counted, loss = sums.sum(0).unbind()
    scale = 1 / (counted + 1e-8)
    by_depth = (own + other.double() / FIXED_POINT) * scale
    return loss * scale, by_depth.float(), (by_certainty * scale).float()


def norm_gelu(
    x: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, residual: Tensor | None, epsilon: float
) -> Tensor:
    """gelu(norm(x + bias) * weight + shift) + residual over the channels of (n, h, w, 128) float16.

    Args:
      x: rows of channels.
      bias: (128,) float32, or (n, 9, 128) for the nine places in a picture.
      weight, shift: (128,) float32.
      residual: like `x`, or none.
      epsilon: of the norm.
    """
    import torch

    out = torch.empty_like(x)
    maps, height, width, _ = x.shape
    numbers = (maps * height * width, height, width, int(bias.ndim > 1), epsilon)
    _call("sb_norm_gelu", x, bias.contiguous(), weight, shift, residual, out, *numbers)
    return out


def gru_gates(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, net: Tensor
) -> tuple[Tensor, Tensor]:
    """Update gate and reset state (e, h, w, 128) float16; see `models.tracking.layers`, here with channels last."""
    import torch

    update, reset_net = torch.empty_like(net), torch.empty_like(net)
    edges, height, width, _ = net.shape
    numbers = (edges * height * width, height * width)
    _call(
        "sb_gru_gates", own, inputs, context, source.contiguous(), common.contiguous(), net, update, reset_net, *numbers
    )
    return update, reset_net


def gru_state(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, update: Tensor, net: Tensor
) -> Tensor:
    """New hidden state (e, h, w, 128) float16; see `models.tracking.layers`, here with channels last."""
    import torch

    out = torch.empty_like(net)
    edges, height, width, _ = net.shape
    numbers = (edges * height * width, height * width)
    _call("sb_gru_state", own, inputs, context, source.contiguous(), common.contiguous(), update, net, out, *numbers)
    return out


GATED_SUM_PARTS = 8


def gated_sum(gate: Tensor, bias: Tensor, net: Tensor) -> Tensor:
    """(e, 128) float32 sums over pixels of sigmoid(gate + bias) net, for (e, h, w, 128) float16."""
    import torch

    edges, height, width, channels = net.shape
    out = net.new_empty(edges, GATED_SUM_PARTS, channels, dtype=torch.float32)
    _call("sb_gated_sum", gate, bias, net, out, edges, height * width, GATED_SUM_PARTS)
    return out.sum(1)


def reproject(cameras: Sequence[Tensor], source: Tensor, target: Tensor) -> Tensor:
    """(e, h, w, 2) float32 places in frames j of the pixels of frames i.

    Args:
      cameras: rotation, translation, intrinsics, clip and inverse depth (float32) of `Cameras`.
      source, target: (e,) int64.
    """
    _, height, width = cameras[-1].shape
    out = cameras[-1].new_empty(len(source), height, width, 2)
    ends = (source.contiguous(), target.contiguous())
    _call("sb_reproject", *cameras, *ends, out, len(source), height * width, width)
    return out


def frame_distance(
    cameras: Sequence[Tensor],
    source: Tensor,
    target: Tensor,
    beta: float,
    min_depth: float,
    min_share: float,
    invalid: float,
) -> Tensor:
    """(e,) float32 distances from frames i to j, see `models.tracking.geometry`; arguments as there and above."""
    _, height, width = cameras[-1].shape
    out = cameras[-1].new_empty(len(source))
    ends = (source.contiguous(), target.contiguous())
    numbers = (len(source), height * width, width, beta, min_depth, min_share, invalid)
    _call("sb_frame_distance", *cameras, *ends, out, *numbers)
    return out


def _call(name: str, *arguments: Any) -> None:
    """Calls a kernel's launcher with pointers of tensors, on their device and its current stream."""
    import torch

    library = _library()
    assert library is not None
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    for tensor in tensors:
        assert tensor.is_contiguous() and tensor.device == tensors[0].device, name
    converted = [ctypes.c_void_p() if a is None else _convert(a) for a in arguments]
    with torch.cuda.device(tensors[0].device):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        status = getattr(library, name)(*converted, stream)
    if status:
        raise RuntimeError(f"{name} failed with CUDA error {status}")


def _convert(argument: Any) -> Any:
    if hasattr(argument, "data_ptr"):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument
