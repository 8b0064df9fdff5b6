"""CUDA kernels of networks, losses and reprojection: tensors in, tensors out, on the current stream."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from native.cuda.library import call

if TYPE_CHECKING:
    from torch import Tensor


def look_up_correlation(
    volume: Tensor, coords_px: Tensor, levels: Sequence[tuple[int, int, int]], radius: int
) -> Tensor:
    """Bilinear lookup in a four-level correlation pyramid (RAFT, Teed and Deng 2020).

    Args:
      volume: (e, p, columns) float16.
      coords_px: (e, p, 2) float32 positions (x, y) on the first level.
      levels: height, width and first column of the four levels.
      radius: 3 or 4.

    Returns:
      (e, p, channels) float16: level, x offset, y offset; zero outside the volume, zero-padded to a multiple of 8.
    """
    edges, pixels, columns = volume.shape
    channels = 4 * (2 * radius + 1) ** 2
    out = volume.new_empty(edges, pixels, -(-channels // 8) * 8)
    shape = (ctypes.c_int * 12)(*(number for level in levels for number in level))
    call("sb_look_up_correlation", volume, coords_px, out, edges * pixels, columns, shape, radius)
    return out


FIXED_POINT = float(1 << 28)


def pair_loss(
    inverse_depth: Tensor,
    confidence: Tensor,
    flow_px: Tensor,
    mask: Tensor,
    motion: Tensor,
    second: Tensor,
    first_pair: Tensor,
    camera: Tensor,
    flow_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth ratio and flow losses of frame pairs, averaged over valid pixels, and their gradients.

    Args:
      inverse_depth, confidence: (t, h, w) float32 above 0.
      flow_px: (p, h, w, 2) float16 of pairs sorted by first frame; mask: (p, h, w) uint8 where the flow is valid.
      motion: (p, 12) float32 rotation times inverse K, row-major, and translation.
      second: (p,) int64 second frames; first_pair: (t + 1,) int64 offsets of each frame's pairs.
      camera: (4,) float32 fx fy cx cy.
      flow_weight: weight of the flow loss.

    Returns:
      Loss () float64, gradients (t, h, w) float32 with respect to inverse depth and confidence.
    """
    import torch

    frames, height, width = inverse_depth.shape
    own, by_confidence = torch.empty_like(inverse_depth), torch.empty_like(inverse_depth)
    other = torch.zeros_like(inverse_depth, dtype=torch.int64)
    sums = inverse_depth.new_empty(frames * -(-height * width // 256), 2, dtype=torch.float64)
    maps = (inverse_depth, confidence, flow_px, mask, motion, second, first_pair, camera)
    inputs = [values.contiguous() for values in maps]
    outputs = (own, other, by_confidence, sums)
    call("sb_pair_loss", *inputs, *outputs, frames, width, height, flow_weight, FIXED_POINT)
    counted, loss = sums.sum(0).unbind()
    scale = 1 / (counted + 1e-8)
    by_depth = (own + other.double() / FIXED_POINT) * scale
    return loss * scale, by_depth.float(), (by_confidence * scale).float()


def norm_gelu(
    x: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, residual: Tensor | None, epsilon: float
) -> Tensor:
    """gelu(norm(x + bias) * weight + shift) + residual.

    Over the channels of (n, h, w, 128) float16.

    Args:
      x: rows of channels.
      bias: (128,) float32, or (n, 9, 128) for the nine regions of an image (corners, borders, interior).
      weight, shift: (128,) float32.
      residual: like `x`, or None.
      epsilon: of the norm.
    """
    import torch

    out = torch.empty_like(x)
    maps, height, width, _ = x.shape
    numbers = (maps * height * width, height, width, int(bias.ndim > 1), epsilon)
    call("sb_norm_gelu", x, bias.contiguous(), weight, shift, residual, out, *numbers)
    return out


def gru_gates(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, net: Tensor
) -> tuple[Tensor, Tensor]:
    """Update gate and reset state (e, h, w, 128) float16.

    See `models.networks.layers`; here channels are last.
    """
    import torch

    update, reset_net = torch.empty_like(net), torch.empty_like(net)
    edges, height, width, _ = net.shape
    numbers = (edges * height * width, height * width)
    call(
        "sb_gru_gates", own, inputs, context, source.contiguous(), common.contiguous(), net, update, reset_net, *numbers
    )
    return update, reset_net


def gru_state(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, update: Tensor, net: Tensor
) -> Tensor:
    """New hidden state (e, h, w, 128) float16; see `models.networks.layers`, here with channels last."""
    import torch

    out = torch.empty_like(net)
    edges, height, width, _ = net.shape
    numbers = (edges * height * width, height * width)
    call("sb_gru_state", own, inputs, context, source.contiguous(), common.contiguous(), update, net, out, *numbers)
    return out


GATED_SUM_PARTS = 8


def gated_sum(gate: Tensor, bias: Tensor, net: Tensor) -> Tensor:
    """(e, 128) float32 sums over pixels of sigmoid(gate + bias) net.

    The inputs are (e, h, w, 128) float16.
    """
    import torch

    edges, height, width, channels = net.shape
    out = net.new_empty(edges, GATED_SUM_PARTS, channels, dtype=torch.float32)
    call("sb_gated_sum", gate, bias, net, out, edges, height * width, GATED_SUM_PARTS)
    return out.sum(1)


def reproject(cameras: Sequence[Tensor], source: Tensor, target: Tensor) -> Tensor:
    """(e, h, w, 2) float32 positions in frames j of the pixels of frames i.

    Args:
      cameras: rotation, translation, intrinsics, clip and inverse depth (float32) of `Cameras`.
      source, target: (e,) int64.
    """
    _, height, width = cameras[-1].shape
    out = cameras[-1].new_empty(len(source), height, width, 2)
    ends = (source.contiguous(), target.contiguous())
    call("sb_reproject", *cameras, *ends, out, len(source), height * width, width)
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
    """(e,) float32 frame distances from i to j; arguments as in `models.slam.geometry` and `reproject`."""
    _, height, width = cameras[-1].shape
    out = cameras[-1].new_empty(len(source))
    ends = (source.contiguous(), target.contiguous())
    numbers = (len(source), height * width, width, beta, min_depth, min_share, invalid)
    call("sb_frame_distance", *cameras, *ends, out, *numbers)
    return out
