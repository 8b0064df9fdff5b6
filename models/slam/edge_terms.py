"""Gauss-Newton terms of each edge: Hessian and gradient.

By relative motion, focal length and inverse depths.

One CUDA kernel where it is built and tensors are float32; else PyTorch, in any precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from models.networks.pixels import pixel_grid
from models.slam.bundle_plan import BundlePlan
from models.slam.geometry import MIN_DEPTH_RATIO, Cameras, adjoint
from native.cuda.adjustment import UPPER, linearize_edges

RESIDUAL_WEIGHT = 0.001
ROWS = 7
"""Variables of an edge: its relative motion y = xi_j - Ad(G_ij) xi_i, and focal length / (2 cx)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTerms:
    """Blocks of the normal equations for the edge in each slot; 0 in empty slots.

    Attributes:
      hessian, gradient: (s, 7, 7), (s, 7) of the edge's variables, summed over pixels.
      cross: (s, 7, p) Hessian of the edge's variables with each pixel's inverse depth.
      depth: (s, 2, p) Hessian diagonal and gradient of inverse depth.
    """

    hessian: Tensor
    gradient: Tensor
    cross: Tensor
    depth: Tensor


def linearize(cameras: Cameras, plan: BundlePlan, target_px: Tensor, weight: Tensor) -> EdgeTerms:
    """Gauss-Newton terms of the plan's edges; points behind the target camera have no weight."""
    if cameras.supports_kernels:
        sums, cross, depth = linearize_on_device(cameras, plan, target_px, weight)
        hessian = sums[:, _full_from_upper(sums.device)].unflatten(1, (ROWS, ROWS))
        return EdgeTerms(hessian=hessian, gradient=sums[:, UPPER:], cross=cross, depth=depth)
    dtype, rows = target_px.dtype, plan.edge.clamp(min=0)
    rotation, translation = cameras.relative(plan.source, plan.target)
    intrinsics = cameras.intrinsics[cameras.clip[plan.source]]
    pose = (rotation.to(dtype), translation.to(dtype), intrinsics.to(dtype))
    inverse_depth = cameras.inverse_depth[plan.source].to(dtype)
    jacobian, d_depth, residual, valid = _differentiate(*pose, inverse_depth, target_px[rows])
    valid = valid & (plan.edge >= 0)[:, None]
    w = RESIDUAL_WEIGHT * valid[..., None] * weight[rows].flatten(1, 2)
    weighted = jacobian * w[:, None]
    return EdgeTerms(
        hessian=weighted.flatten(2) @ jacobian.flatten(2).transpose(1, 2),
        gradient=(weighted * residual[:, None]).sum((2, 3)),
        cross=(weighted * d_depth[:, None]).sum(3),
        depth=torch.stack([(w * d_depth * d_depth).sum(2), (w * d_depth * residual).sum(2)], 1),
    )


def sum_depth_terms(
    cameras: Cameras, plan: BundlePlan, depth: Tensor, eta: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """(b k, p) inverse Hessian diagonal and gradient of inverse depths.

    With prior or damping; the inverse is 0 if singular.
    """
    b, k, d = plan.shape
    hessian, gradient = depth.unflatten(0, (b * k, d)).sum(1).unbind(1)
    prior, inverse_depth = cameras.prior[plan.frame].flatten(1), cameras.inverse_depth[plan.frame].flatten(1)
    strength = alpha[cameras.clip[plan.frame]][:, None].to(hessian.dtype) * (prior > 0)
    hessian = hessian + torch.where(strength > 0, strength, eta[plan.frame].flatten(1).to(hessian.dtype))
    used = (plan.frame >= 0)[:, None]
    inverse = torch.where(used & (hessian > 0), 1 / hessian.clamp(min=1e-30), 0.0)
    return inverse, gradient - used * strength * (inverse_depth - prior)


def edge_jacobians(cameras: Cameras, plan: BundlePlan, with_focal: Tensor | None) -> Tensor:
    """(s, 7, variables) float64 derivatives of the edges' variables by those of their clips."""
    motion = -adjoint(*cameras.relative(plan.source, plan.target))
    slot = torch.arange(len(motion), device=motion.device)
    jacobian = motion.new_zeros(len(motion), ROWS, plan.poses + 1, 6)
    jacobian[slot, :6, plan.source_column] = motion
    jacobian[slot, :6, plan.target_column] = torch.eye(6, dtype=motion.dtype, device=motion.device)
    jacobian[:, :, plan.poses] = 0  # the column of fixed poses
    if with_focal is not None:
        jacobian[:, 6, plan.poses, 0] = with_focal[cameras.clip[plan.source]].to(motion.dtype)
    return jacobian.flatten(2)[:, :, : plan.variables]


def linearize_on_device(
    cameras: Cameras, plan: BundlePlan, target_px: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`native.cuda.adjustment.linearize_edges` of the plan's edges."""
    ends = (plan.source, plan.target, plan.edge)
    return linearize_edges(cameras.tensors, *ends, target_px, weight, RESIDUAL_WEIGHT, MIN_DEPTH_RATIO)


@lru_cache(maxsize=8)
def _full_from_upper(device: torch.device) -> Tensor:
    """(49,) int64 indices of a symmetric matrix's elements in its upper triangle."""
    index = torch.zeros(ROWS, ROWS, dtype=torch.int64)
    upper = torch.triu_indices(ROWS, ROWS)
    index[upper[0], upper[1]] = index[upper[1], upper[0]] = torch.arange(UPPER)
    return index.flatten().to(device)


def _differentiate(
    rotation: Tensor, translation: Tensor, intrinsics: Tensor, inverse_depth: Tensor, target_px: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Jacobians of the projection by edge variables and by inverse depth, residuals, and validity.

    Returns:
      (n, 7, p, 2), (n, p, 2), (n, p, 2) and (n, p) bool.
    """
    fx, fy, cx, cy = (k[:, None] for k in intrinsics.unbind(1))
    height, width = inverse_depth.shape[1:]
    grid = pixel_grid(height, width, inverse_depth.device).to(inverse_depth.dtype)
    u, v = grid.reshape(-1, 2).unbind(1)
    h = inverse_depth.flatten(1)
    ray = torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones_like(h)], 1)
    x, y, z = (rotation @ ray + translation[..., None] * h[:, None]).unbind(1)
    valid = z >= MIN_DEPTH_RATIO
    n = 1 / torch.where(valid, z, 1.0)
    x, y, hn = x * n, y * n, h * n
    zero = torch.zeros_like(x)
    ray[:, 2] = 0
    qx, qy, qz = (-rotation @ ray).unbind(1)
    d_focal = torch.stack([x + (qx - x * qz) * n, y + (qy - y * qz) * n], -1)
    d_u = torch.stack([hn, zero, -x * hn, -x * y, 1 + x * x, -y], 1)
    d_v = torch.stack([zero, hn, -y * hn, -1 - y * y, x * y, x], 1)
    focal = torch.stack([fx, fy], -1)
    jacobian = torch.cat([torch.stack([d_u, d_v], -1), d_focal[:, None] * (2 * cx / fx)[:, None, :, None]], 1)
    tx, ty, tz = (t[:, None] for t in translation.unbind(1))
    d_depth = torch.stack([(tx - tz * x) * n, (ty - tz * y) * n], -1) * focal
    projected = torch.stack([x * fx + cx, y * fy + cy], -1)
    residual = torch.where(valid[..., None], target_px.flatten(1, 2) - projected, 0.0)
    return jacobian * focal[:, None], d_depth, residual, valid
