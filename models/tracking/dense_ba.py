"""Bundle adjustment of the poses, inverse depths and focal lengths of many clips at once, on the device.

Gauss-Newton on sum of w |r|^2 over the pixels of all edges (i, j) plus alpha (d - prior)^2 over the pixels of frames.
A pixel's observation depends on the poses only through the edge's own motion y = xi_j - Ad(G_ij) xi_i. So all sums are
taken edge by edge in (y, log f), inverse depths are eliminated frame by frame there, and one small matrix a frame,
which holds the -Ad blocks, carries the rest to the clip's variables. All sums are matrix products, which add in one
order: equal inputs give equal bits. The last system, 6 to a free pose and one for the focal length, is solved densely
in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.tracking.geometry import MIN_DEPTH_RATIO, Cameras, adjoint, pixel_grid
from native.cuda import kernels

Indices = npt.NDArray[np.int64]
RESIDUAL_WEIGHT = 0.001
MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 1e-3, 100.0
MAX_FOCAL_STEP = 0.2
"""No step changes the focal length by a larger share: far from the solution its curvature says little."""
ROWS = 7
"""Variables of an edge: its motion and the focal length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions:
    """How to solve.

    Attributes:
      iterations: Gauss-Newton steps.
      damping: share of the curvature's diagonal that is added to it, for poses and focal length.
      damping_floor: added to that diagonal.
      motion_only: inverse depths stay.
    """

    iterations: int = 2
    damping: float = 1e-4
    damping_floor: float = 0.1
    motion_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """Where each edge and frame stands in the systems of b clips: k source frames with d slots for edges each.

    Attributes:
      edge: (n,) int64 edges that the system uses, and place: (n,) their slots among b * k * d.
      source, target: (n,) int64 frames of these edges.
      frame: (m,) int64 source frames, and frame_place: (m,) their places among b * k.
      free: (p,) int64 frames whose poses move, and free_place: (p,) their places among b * poses.
      source_column, target_column: (n,) pose of the edges' ends within their clip; `poses` for fixed ones.
      clips: (b,) int64 numbers of the clips.
      shape: b, k, d.
      poses: columns of poses of a clip.
    """

    edge: Tensor
    place: Tensor
    source: Tensor
    target: Tensor
    frame: Tensor
    frame_place: Tensor
    free: Tensor
    free_place: Tensor
    source_column: Tensor
    target_column: Tensor
    clips: Tensor
    shape: tuple[int, int, int]
    poses: int


def plan_bundle(
    source: Indices, target: Indices, clip_of: Indices, free: Sequence[Indices], device: torch.device
) -> BundlePlan:
    """Lays out the systems.

    Args:
      source, target: (e,) frames of the edges.
      clip_of: (f,) clip of each frame.
      free: for each clip, the frames whose poses move.
      device: where it is solved.
    """
    clips, member = np.unique(clip_of[source], return_inverse=True)
    order = np.lexsort((target, source, member))
    frames, first, frame_of = np.unique(source[order], return_index=True, return_inverse=True)
    slot = np.arange(len(order)) - first[frame_of]
    clip_of_frame = np.searchsorted(clips, clip_of[frames])
    row = np.arange(len(frames)) - np.searchsorted(clip_of_frame, clip_of_frame)
    rows, slots = int(row.max()) + 1, int(slot.max()) + 1
    poses = max(max(len(free[c]) for c in clips), 1)
    column = np.full(len(clip_of), poses)
    for c in clips:
        column[free[c]] = np.arange(len(free[c]))
    moving = np.concatenate([free[c] for c in clips]).astype(np.int64)
    clip_of_free = np.searchsorted(clips, clip_of[moving])
    frame_place = clip_of_frame * rows + row

    def upload(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(device, non_blocking=True)

    return BundlePlan(
        edge=upload(order),
        place=upload(frame_place[frame_of] * slots + slot),
        source=upload(source[order]),
        target=upload(target[order]),
        frame=upload(frames),
        frame_place=upload(frame_place),
        free=upload(moving),
        free_place=upload(clip_of_free * poses + column[moving]),
        source_column=upload(column[source[order]]),
        target_column=upload(column[target[order]]),
        clips=upload(clips),
        shape=(len(clips), rows, slots),
        poses=poses,
    )


def adjust(
    cameras: Cameras,
    plan: BundlePlan,
    target_px: Tensor,
    weight: Tensor,
    eta: Tensor,
    alpha: Tensor,
    with_focal: Tensor | None = None,
    options: BundleOptions | None = None,
) -> None:
    """Moves the poses, inverse depths and focal lengths of `cameras` to less cost.

    Where a system cannot be factorised, its poses stay.

    Args:
      cameras: changed in place.
      plan: of these edges.
      target_px, weight: (e, h, w, 2) float32 where pixels of i are seen in j, and how sure that is.
      eta: (f, h, w) float32 damping of inverse depths that have no prior.
      alpha: (clips,) float32 what an error of 1 squared against the prior costs; at 0 there is no prior.
      with_focal: (clips,) bool whose focal lengths move, fx and fy together; none for no clip's.
      options: see there.
    """
    options = options or BundleOptions()
    for _ in range(options.iterations):
        terms = linearise(cameras, plan, target_px, weight)
        step = _Step(cameras, plan, terms, options, eta, alpha, with_focal)
        poses, focal = step.solve()
        cameras.retract(plan.free, poses.reshape(-1, 6)[plan.free_place])
        if not options.motion_only:
            change = step.inverse_depth_step(poses, focal)[plan.frame_place]
            moved = cameras.inverse_depth[plan.frame] + change.reshape(-1, *cameras.inverse_depth.shape[1:])
            cameras.inverse_depth[plan.frame] = moved.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)
        if with_focal is not None:
            intrinsics = cameras.intrinsics[plan.clips]
            change = (2 * intrinsics[:, 2] * focal / intrinsics[:, 0]).clamp(-MAX_FOCAL_STEP, MAX_FOCAL_STEP)
            intrinsics[:, :2] *= (1 + change)[:, None]
            cameras.intrinsics[plan.clips] = intrinsics


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTerms:
    """Sums of one edge over its pixels, in its own variables: motion (6) and focal length / (2 cx).

    Attributes:
      curvature, gradient: (n, 7, 7), (n, 7).
      mixed: (n, 7, p) products with the derivative by inverse depth, for each pixel.
      point_curvature, point_gradient: (n, p).
      motion: (n, 6, 6) float64 what the source's own motion does to the edge's: -Ad(G_ij).
    """

    curvature: Tensor
    gradient: Tensor
    mixed: Tensor
    point_curvature: Tensor
    point_gradient: Tensor
    motion: Tensor


def linearise(cameras: Cameras, plan: BundlePlan, target_px: Tensor, weight: Tensor) -> EdgeTerms:
    """Residuals and derivatives of the plan's edges, summed; observations behind the camera do not count."""
    rotation, translation = cameras.relative(plan.source, plan.target)
    motion = -adjoint(rotation, translation)
    intrinsics = cameras.intrinsics[cameras.clip[plan.source]]
    if target_px.dtype == torch.float32 and kernels.usable_for(target_px):
        pose = torch.cat([rotation.flatten(1), translation, intrinsics], 1).float()
        sums, mixed, points = kernels.linearise_edges(
            pose, cameras.inverse_depth, plan.source, plan.edge, target_px, weight, RESIDUAL_WEIGHT, MIN_DEPTH_RATIO
        )
        upper = torch.triu_indices(ROWS, ROWS, device=sums.device)
        curvature = sums.new_zeros(len(sums), ROWS, ROWS)
        curvature[:, upper[0], upper[1]] = curvature[:, upper[1], upper[0]] = sums[:, : len(upper[0])]
        gradient = sums[:, len(upper[0]) :]
        curvature_of_points, gradient_of_points = points.unbind(1)
    else:
        dtype = target_px.dtype
        pose = (rotation.to(dtype), translation.to(dtype), intrinsics.to(dtype))
        inverse_depth = cameras.inverse_depth[plan.source].to(dtype)
        jacobian, by_depth, residual, valid = _differentiate(*pose, inverse_depth, target_px[plan.edge])
        w = RESIDUAL_WEIGHT * valid[..., None] * weight[plan.edge].flatten(1, 2)
        weighted = jacobian * w[:, None]
        curvature = weighted.flatten(2) @ jacobian.flatten(2).transpose(1, 2)
        gradient = (weighted * residual[:, None]).sum((2, 3))
        mixed = (weighted * by_depth[:, None]).sum(3)
        curvature_of_points = (w * by_depth * by_depth).sum(2)
        gradient_of_points = (w * by_depth * residual).sum(2)
    return EdgeTerms(
        curvature=curvature,
        gradient=gradient,
        mixed=mixed,
        point_curvature=curvature_of_points,
        point_gradient=gradient_of_points,
        motion=motion,
    )


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


class _Step:
    """One Gauss-Newton step of all clips of a plan."""

    def __init__(
        self,
        cameras: Cameras,
        plan: BundlePlan,
        terms: EdgeTerms,
        options: BundleOptions,
        eta: Tensor,
        alpha: Tensor,
        with_focal: Tensor | None,
    ) -> None:
        self._plan, self._terms, self._options = plan, terms, options
        b, k, d = plan.shape
        self._variables = 6 * plan.poses + 1
        self._carry = self._carry_matrix(with_focal)
        self._curvature = self._spread(terms.curvature).double()
        self._gradient = self._spread(terms.gradient).reshape(b * k, d * ROWS).double()
        if options.motion_only:
            return
        self._mixed = self._spread(terms.mixed).reshape(b * k, d * ROWS, -1)
        curvature = self._spread(terms.point_curvature).reshape(b * k, d, -1).sum(1)
        self._point_gradient = self._spread(terms.point_gradient).reshape(b * k, d, -1).sum(1)
        prior, inverse_depth = cameras.prior[plan.frame].flatten(1), cameras.inverse_depth[plan.frame].flatten(1)
        strength = alpha[cameras.clip[plan.frame]][:, None].to(curvature.dtype) * (prior > 0)
        added = torch.where(strength > 0, strength, eta[plan.frame].flatten(1).to(curvature.dtype))
        curvature[plan.frame_place] += added
        self._point_gradient[plan.frame_place] -= strength * (inverse_depth - prior)
        self._inverse = torch.where(curvature > 0, 1 / curvature.clamp(min=1e-30), 0.0)

    def _spread(self, values: Tensor) -> Tensor:
        b, k, d = self._plan.shape
        out = values.new_zeros(b * k * d, *values.shape[1:])
        out[self._plan.place] = values
        return out

    def _carry_matrix(self, with_focal: Tensor | None) -> Tensor:
        """(b k, d rows, variables) float64: the edges' variables from those of the clip."""
        plan = self._plan
        b, k, d = plan.shape
        motion = self._terms.motion
        n = len(motion)
        carry = motion.new_zeros(n, ROWS, plan.poses + 1, 6)
        each = torch.arange(n, device=motion.device)
        carry[each, :6, plan.source_column] = motion
        carry[each, :6, plan.target_column] = torch.eye(6, dtype=motion.dtype, device=motion.device)
        carry[:, :, plan.poses] = 0  # what happens to fixed poses
        if with_focal is not None:
            clip = torch.div(plan.place, k * d, rounding_mode="floor")
            carry[:, 6, plan.poses, 0] = with_focal[plan.clips[clip]].to(motion.dtype)
        return self._spread(carry.flatten(2)[:, :, : self._variables]).reshape(b * k, d * ROWS, -1)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Steps of poses (b, poses, 6) and of focal lengths / (2 cx) (b,), float64."""
        b, k, d = self._plan.shape
        flat = self._carry.reshape(b, -1, self._variables)
        bent = self._curvature @ self._carry.reshape(b * k * d, ROWS, -1)
        diagonal = (flat * bent.reshape(flat.shape)).sum(1)
        bent = bent.reshape(b * k, d * ROWS, -1)
        gradient = self._gradient
        if not self._options.motion_only:
            scaled = self._mixed * self._inverse[:, None]
            bent = bent - (scaled @ self._mixed.transpose(1, 2)).double() @ self._carry
            gradient = gradient - (scaled @ self._point_gradient[..., None])[..., 0].double()
        system = flat.transpose(1, 2) @ bent.reshape(flat.shape)
        system = (system + system.transpose(1, 2)) / 2
        system.diagonal(dim1=1, dim2=2).add_(diagonal * self._options.damping + self._options.damping_floor)
        right = flat.transpose(1, 2) @ gradient.reshape(b, -1, 1)
        factor, status = torch.linalg.cholesky_ex(system)
        found = torch.cholesky_solve(right, factor)[..., 0]
        found = torch.where((status == 0)[:, None] & found.isfinite(), found, 0.0)
        return found[:, :-1].reshape(b, -1, 6), found[:, -1]

    def inverse_depth_step(self, poses: Tensor, focal: Tensor) -> Tensor:
        """(b k, h w) from the steps of poses and focal lengths; any values for places without a frame."""
        b, k, _ = self._plan.shape
        step = torch.cat([poses.flatten(1), focal[:, None]], 1)[:, :, None]
        own = (self._carry.reshape(b, -1, self._variables) @ step).reshape(b * k, 1, -1).to(self._mixed.dtype)
        return self._inverse * (self._point_gradient - (own @ self._mixed)[:, 0])
