"""What each edge's pixels say of its motion, its focal length and its source's inverse depths.

One CUDA kernel where it is built and tensors are single precision; else PyTorch, in any precision.
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
"""Variables of an edge: its motion y = xi_j - Ad(G_ij) xi_i and the focal length / (2 cx)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTerms:
    """Sums over the pixels of the edge in each slot; 0 in empty slots.

    Attributes:
      curvature, gradient: (s, 7, 7), (s, 7).
      mixed: (s, 7, p) products with the derivative by inverse depth, for each pixel.
      points: (s, 2, p) curvature and gradient by inverse depth.
    """

    curvature: Tensor
    gradient: Tensor
    mixed: Tensor
    points: Tensor


def linearize(cameras: Cameras, plan: BundlePlan, target_px: Tensor, weight: Tensor) -> EdgeTerms:
    """Residuals and derivatives of the plan's edges, summed; observations behind the camera do not count."""
    if cameras.fit_kernels:
        sums, mixed, points = linearize_on_device(cameras, plan, target_px, weight)
        curvature = sums[:, _full_from_upper(sums.device)].unflatten(1, (ROWS, ROWS))
        return EdgeTerms(curvature=curvature, gradient=sums[:, UPPER:], mixed=mixed, points=points)
    dtype, rows = target_px.dtype, plan.edge.clamp(min=0)
    rotation, translation = cameras.relative(plan.source, plan.target)
    intrinsics = cameras.intrinsics[cameras.clip[plan.source]]
    pose = (rotation.to(dtype), translation.to(dtype), intrinsics.to(dtype))
    inverse_depth = cameras.inverse_depth[plan.source].to(dtype)
    jacobian, by_depth, residual, valid = _differentiate(*pose, inverse_depth, target_px[rows])
    counted = valid & (plan.edge >= 0)[:, None]
    w = RESIDUAL_WEIGHT * counted[..., None] * weight[rows].flatten(1, 2)
    weighted = jacobian * w[:, None]
    return EdgeTerms(
        curvature=weighted.flatten(2) @ jacobian.flatten(2).transpose(1, 2),
        gradient=(weighted * residual[:, None]).sum((2, 3)),
        mixed=(weighted * by_depth[:, None]).sum(3),
        points=torch.stack([(w * by_depth * by_depth).sum(2), (w * by_depth * residual).sum(2)], 1),
    )


def sum_points(cameras: Cameras, plan: BundlePlan, points: Tensor, eta: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """1 / curvature, 0 for none, and gradient (b k, p) of inverse depths: edges, prior or damping; see `adjust`."""
    b, k, d = plan.shape
    curvature, gradient = points.unflatten(0, (b * k, d)).sum(1).unbind(1)
    prior, inverse_depth = cameras.prior[plan.frame].flatten(1), cameras.inverse_depth[plan.frame].flatten(1)
    strength = alpha[cameras.clip[plan.frame]][:, None].to(curvature.dtype) * (prior > 0)
    curvature = curvature + torch.where(strength > 0, strength, eta[plan.frame].flatten(1).to(curvature.dtype))
    used = (plan.frame >= 0)[:, None]
    inverse = torch.where(used & (curvature > 0), 1 / curvature.clamp(min=1e-30), 0.0)
    return inverse, gradient - used * strength * (inverse_depth - prior)


def carry_edges(cameras: Cameras, plan: BundlePlan, with_focal: Tensor | None) -> Tensor:
    """(s, 7, variables) float64: the edges' own variables from those of their clips."""
    motion = -adjoint(*cameras.relative(plan.source, plan.target))
    each = torch.arange(len(motion), device=motion.device)
    carry = motion.new_zeros(len(motion), ROWS, plan.poses + 1, 6)
    carry[each, :6, plan.source_column] = motion
    carry[each, :6, plan.target_column] = torch.eye(6, dtype=motion.dtype, device=motion.device)
    carry[:, :, plan.poses] = 0  # what happens to fixed poses
    if with_focal is not None:
        carry[:, 6, plan.poses, 0] = with_focal[cameras.clip[plan.source]].to(motion.dtype)
    return carry.flatten(2)[:, :, : plan.variables]


def linearize_on_device(
    cameras: Cameras, plan: BundlePlan, target_px: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums, mixed and points of `native.cuda.adjustment.linearize_edges`."""
    ends = (plan.source, plan.target, plan.edge)
    return linearize_edges(cameras.tensors, *ends, target_px, weight, RESIDUAL_WEIGHT, MIN_DEPTH_RATIO)


@lru_cache(maxsize=8)
def _full_from_upper(device: torch.device) -> Tensor:
    """(49,) int64 where each element of a symmetric matrix (7, 7) is in its upper triangle, row by row."""
    place = torch.zeros(ROWS, ROWS, dtype=torch.int64)
    upper = torch.triu_indices(ROWS, ROWS)
    place[upper[0], upper[1]] = place[upper[1], upper[0]] = torch.arange(UPPER)
    return place.flatten().to(device)


def _differentiate(
    rotation: Tensor, translation: Tensor, intrinsics: Tensor, inverse_depth: Tensor, target_px: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of the projections by (edge's motion, focal) and by inverse depth, residuals, and which count.

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
    by_focal = torch.stack([x + (qx - x * qz) * n, y + (qy - y * qz) * n], -1)
    by_u = torch.stack([hn, zero, -x * hn, -x * y, 1 + x * x, -y], 1)
    by_v = torch.stack([zero, hn, -y * hn, -1 - y * y, x * y, x], 1)
    focal = torch.stack([fx, fy], -1)
    jacobian = torch.cat([torch.stack([by_u, by_v], -1), by_focal[:, None] * (2 * cx / fx)[:, None, :, None]], 1)
    tx, ty, tz = (t[:, None] for t in translation.unbind(1))
    by_depth = torch.stack([(tx - tz * x) * n, (ty - tz * y) * n], -1) * focal
    projected = torch.stack([x * fx + cx, y * fy + cy], -1)
    residual = torch.where(valid[..., None], target_px.flatten(1, 2) - projected, 0.0)
    return jacobian * focal[:, None], by_depth, residual, valid
