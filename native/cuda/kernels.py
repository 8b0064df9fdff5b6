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


def look_up_correlation(volume: Tensor, coords_px: Tensor, levels: Sequence[tuple[int, int, int]]) -> Tensor:
    """Bilinear look-up in windows of radius 3 on four levels.

    Args:
      volume: (e, p, columns) float16.
      coords_px: (e, p, 2) float32 places (x, y) on the first level.
      levels: height, width and first column of the four levels.

    Returns:
      (e, p, 196) float16: level, x offset, y offset; zero outside.
    """
    edges, pixels, columns = volume.shape
    out = volume.new_empty(edges, pixels, 196)
    shape = (ctypes.c_int * 12)(*(number for level in levels for number in level))
    _call("sb_look_up_correlation", volume, coords_px, out, edges * pixels, columns, shape)
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
      edge: (n,) int64 their rows in the next two.
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


def _call(name: str, *arguments: Any) -> None:
    """Calls a kernel's launcher with pointers of tensors, on their device and its current stream."""
    import torch

    library = _library()
    assert library is not None
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    for tensor in tensors:
        assert tensor.is_contiguous() and tensor.device == tensors[0].device, name
    converted = [_convert(a) for a in arguments]
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
