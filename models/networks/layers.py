"""Fused layers of the update operators: one CUDA kernel each where built, else PyTorch.

Maps are (n, c, h, w) in channels-last layout. Kernels take half precision and 128 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from native.cuda import kernels
from native.cuda.library import usable_for

NORM_EPSILON = 1e-6
CHANNEL_MULTIPLE = 8


def pad_channels(x: Tensor, dim: int = 1) -> Tensor:
    """Appends zero channels up to a multiple of 8, as tensor cores need."""
    missing = -x.shape[dim] % CHANNEL_MULTIPLE
    if not missing:
        return x
    return torch.cat([x, x.new_zeros(*x.shape[:dim], missing, *x.shape[dim + 1 :])], dim)


def conv_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Same-size convolution, bias and ReLU; fused on a GPU."""
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    if x.is_cuda:
        return torch.cudnn_convolution_relu(x, weight, bias, (1, 1), padding, (1, 1), 1)
    return functional.relu(functional.conv2d(x, weight, bias, padding=padding))


def norm_gelu(x: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, residual: Tensor | None = None) -> Tensor:
    """gelu(norm(x + bias) * weight + shift) + residual, with layer norm over channels.

    Args:
      x: (n, 128, h, w).
      bias: (128,) float32, or (n, 9, 128) by position: corners, edges and interior of the image, row-major.
      weight, shift: (128,) float32.
      residual: like `x`, or none.
    """
    if _fits_kernels(x):
        rest = None if residual is None else _rows(residual)
        return _maps(kernels.norm_gelu(_rows(x), bias, weight, shift, rest, NORM_EPSILON))
    if bias.ndim > 1:
        bias = bias[:, _positions(x.shape[2], x.shape[3], x.device)]
    rows = x.permute(0, 2, 3, 1) + bias.to(x.dtype)
    done = functional.gelu(
        functional.layer_norm(rows, x.shape[1:2], weight.to(x.dtype), shift.to(x.dtype), NORM_EPSILON)
    )
    return done.permute(0, 3, 1, 2) + (0 if residual is None else residual)


def _positions(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w) index of each pixel among the nine positions."""
    line, column = (torch.ones(n, dtype=torch.int64, device=device) for n in (height, width))
    line[0] = column[0] = 0
    line[-1] = column[-1] = 2
    return 3 * line[:, None] + column


def gru_gates(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, net: Tensor
) -> tuple[Tensor, Tensor]:
    """Update gate z, and reset gate times hidden state, of a convolutional GRU.

    Args:
      own: (e, 256, h, w) convolution of the hidden state for both gates.
      inputs: (e, 384, h, w) convolution of correlation and motion features, for both gates and the candidate.
      context: (f, 384, h, w) convolution of each frame's context features.
      source: (e,) int64 source frame of each edge.
      common: (e, 384) float32 global term, equal at all pixels.
      net: (e, 128, h, w) hidden state.
    """
    if _fits_kernels(net):
        gates = kernels.gru_gates(_rows(own), _rows(inputs), _rows(context), source, common, _rows(net))
        return _maps(gates[0]), _maps(gates[1])
    given = (inputs + context[source] + common.to(net.dtype)[:, :, None, None])[:, :256]
    update, reset = torch.sigmoid(own + given).split(128, 1)
    return update, reset * net


def gru_state(
    own: Tensor, inputs: Tensor, context: Tensor, source: Tensor, common: Tensor, update: Tensor, net: Tensor
) -> Tensor:
    """New hidden state of the GRU.

    `own` (e, 128, h, w) is the convolution of the reset state.
    """
    if _fits_kernels(net):
        rows = _rows(own), _rows(inputs), _rows(context)
        return _maps(kernels.gru_state(*rows, source, common, _rows(update), _rows(net)))
    given = (inputs + context[source] + common.to(net.dtype)[:, :, None, None])[:, 256:]
    return torch.lerp(net, torch.tanh(own + given), update)


def gated_mean(gate: Tensor, bias: Tensor, net: Tensor) -> Tensor:
    """(e, 128) float32 mean over pixels of sigmoid(gate + bias) * net."""
    if _fits_kernels(net):
        return kernels.gated_sum(_rows(gate), bias, _rows(net)) / (net.shape[2] * net.shape[3])
    gate = gate + bias.to(gate.dtype)[:, None, None]
    return (torch.sigmoid(gate) * net).mean((2, 3), dtype=torch.float32)


def _fits_kernels(x: Tensor) -> bool:
    return x.dtype == torch.float16 and usable_for(x)


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


def _maps(rows: Tensor) -> Tensor:
    return rows.permute(0, 3, 1, 2)
