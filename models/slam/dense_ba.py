"""Dense bundle adjustment (DBA) of many clips on the device.

Of poses, inverse depths and focal lengths.

Gauss-Newton on the reprojection cost of DROID-SLAM (Teed and Deng 2021, eq. 4): the sum of w |r|^2 over the pixels of
all edges (i, j), plus alpha (d - prior)^2, the monocular depth regularization of MegaSaM (Li et al. 2025). A residual
depends on the poses only through the edge's relative motion y = xi_j - Ad(G_ij) xi_i. So all sums are taken edge by
edge in (y, log f). The Schur complement eliminates inverse depths there, frame by frame, and one small matrix a frame,
which holds the -Ad blocks, maps the rest to the clip's variables. All sums are matrix products, which add in one order:
equal inputs give equal bits. The reduced system, 6 variables a free pose and one for the focal length, is solved by a
dense Cholesky factorization in float64. Where the CUDA kernels apply, eight of them do a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.slam.bundle_plan import BundlePlan
from models.slam.edge_terms import ROWS, EdgeTerms, edge_jacobians, linearize, linearize_on_device, sum_depth_terms
from models.slam.geometry import Cameras
from native.cuda import adjustment as kernels

MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 1e-3, 100.0
MAX_FOCAL_STEP = 0.2
"""Largest relative change of the focal length in a step: far from the solution its Hessian says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBAOptions:
    """Solver options.

    Attributes:
      iterations: Gauss-Newton steps.
      damping: Levenberg-Marquardt damping of poses and focal length, relative to the Hessian's diagonal.
      damping_floor: absolute damping, added to that diagonal.
      motion_only: whether inverse depths stay fixed.
    """

    iterations: int = 2
    damping: float = 1e-4
    damping_floor: float = 0.1
    motion_only: bool = False


def adjust(
    cameras: Cameras,
    plan: BundlePlan,
    target_px: Tensor,
    weight: Tensor,
    eta: Tensor,
    alpha: Tensor,
    with_focal: Tensor | None = None,
    options: DenseBAOptions | None = None,
) -> None:
    """Optimizes the poses, inverse depths and focal lengths of `cameras` in place.

    Poses stay where the system of a clip is not positive definite.

    Args:
      cameras: updated in place.
      plan: of these edges.
      target_px, weight: (e, h, w, 2) float32 observed pixels of i in j, and their confidence.
      eta: (f, h, w) float32 damping of inverse depths that have no prior.
      alpha: (clips,) float32 weight of the squared error against the prior; 0 for no prior.
      with_focal: (clips,) bool whose focal lengths are optimized, fx and fy together; none for no clip's.
      options: of the solver.
    """
    options = options or DenseBAOptions()
    for _ in range(options.iterations):
        if cameras.supports_kernels:
            _step_on_device(cameras, plan, target_px, weight, eta, alpha, with_focal, options)
            continue
        step, depths = solve_step(cameras, plan, target_px, weight, eta, alpha, with_focal, options)
        if depths is not None:
            update_depths(cameras, plan, depths.back_substitute(step))
        update_poses(cameras, plan, step, with_focal)


def solve_step(
    cameras: Cameras,
    plan: BundlePlan,
    target_px: Tensor,
    weight: Tensor,
    eta: Tensor,
    alpha: Tensor,
    with_focal: Tensor | None,
    options: DenseBAOptions,
) -> tuple[Tensor, DepthElimination | None]:
    """Step (b, variables) of poses and focal lengths, and the eliminated depths.

    No depths are eliminated if `motion_only`.
    """
    terms = linearize(cameras, plan, target_px, weight)
    jacobian = edge_jacobians(cameras, plan, with_focal)
    depths = None
    if not options.motion_only:
        depths = DepthElimination(plan, terms, jacobian, *sum_depth_terms(cameras, plan, terms.depth, eta, alpha))
    return _solve(plan, terms, jacobian, options, depths), depths


def update_depths(cameras: Cameras, plan: BundlePlan, step: Tensor) -> None:
    """Adds steps (m, p) to the inverse depths of the plan's source frames."""
    updated = cameras.inverse_depth[plan.used_frame] + step.reshape(-1, *cameras.inverse_depth.shape[1:])
    cameras.inverse_depth[plan.used_frame] = updated.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)


def update_poses(cameras: Cameras, plan: BundlePlan, step: Tensor, with_focal: Tensor | None) -> None:
    """Applies a step (b, variables) to the free poses.

    And to the focal lengths, if `with_focal` is given.
    """
    cameras.retract(plan.free, step[:, :-1].reshape(-1, 6)[plan.free_index])
    if with_focal is not None:
        intrinsics = cameras.intrinsics[plan.clips]
        change = (2 * intrinsics[:, 2] * step[:, -1] / intrinsics[:, 0]).clamp(-MAX_FOCAL_STEP, MAX_FOCAL_STEP)
        intrinsics[:, :2] *= (1 + change)[:, None]
        cameras.intrinsics[plan.clips] = intrinsics


def _step_on_device(
    cameras: Cameras,
    plan: BundlePlan,
    target_px: Tensor,
    weight: Tensor,
    eta: Tensor,
    alpha: Tensor,
    with_focal: Tensor | None,
    options: DenseBAOptions,
) -> None:
    """One Gauss-Newton step by the CUDA kernels."""
    layout = ((*plan.ends, plan.frame, plan.clips), plan.shape, plan.poses, with_focal)
    sums, cross, depth = linearize_on_device(cameras, plan, target_px, weight)
    depths, reduction = None, None
    if not options.motion_only:
        maps = (cameras.prior, eta, alpha, plan.frame, plan.edge)
        inverse, gradient, reduction = kernels.eliminate(cameras.tensors, *maps, cross, depth)
        depths = (cross, inverse, gradient)
    damping = (options.damping, options.damping_floor)
    systems, motion = kernels.build_systems(cameras.tensors, *layout, sums, reduction, *damping)
    if plan.variables <= kernels.MAX_VARIABLES:
        steps = kernels.solve_systems(systems)
    else:
        steps = _solve_dense(systems[:, :-1], systems[:, -1])
    limits = (MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH, MAX_FOCAL_STEP)
    kernels.move(cameras.tensors, *layout, plan.free, plan.free_index, steps, motion, depths, limits)


class DepthElimination:
    """Schur complement of the inverse depths, and their back-substitution."""

    def __init__(self, plan: BundlePlan, terms: EdgeTerms, jacobian: Tensor, inverse: Tensor, gradient: Tensor) -> None:
        b, k, d = plan.shape
        self._plan, self._inverse, self._gradient = plan, inverse, gradient
        self._cross = terms.cross.reshape(b * k, d * ROWS, -1)
        self._jacobian = jacobian.reshape(b, -1, plan.variables)

    def reduction(self) -> tuple[Tensor, Tensor]:
        """Terms to subtract from Hessian and gradient: E C^-1 E^T and E C^-1 w.

        float64, (b k, d 7, d 7) and (b k, d 7).
        """
        scaled = self._cross * self._inverse[:, None]
        hessian = scaled @ self._cross.transpose(1, 2)
        return hessian.double(), (scaled @ self._gradient[..., None])[..., 0].double()

    def back_substitute(self, step: Tensor) -> Tensor:
        """(m, p) steps of inverse depths, from the step of poses and focal lengths.

        Of the source frames.
        """
        own = (self._jacobian @ step[..., None]).reshape(len(self._cross), 1, -1).to(self._cross.dtype)
        return (self._inverse * (self._gradient - (own @ self._cross)[:, 0]))[self._plan.used_row]


def _solve(
    plan: BundlePlan, terms: EdgeTerms, jacobian: Tensor, options: DenseBAOptions, depths: DepthElimination | None
) -> Tensor:
    """Steps (b, variables) float64 of poses and of focal lengths / (2 cx)."""
    b, k, d = plan.shape
    product = terms.hessian.double() @ jacobian
    diagonal = (jacobian * product).reshape(b, -1, plan.variables).sum(1)
    gradient = terms.gradient.double().reshape(b * k, d * ROWS)
    product, jacobian = (x.reshape(b * k, d * ROWS, plan.variables) for x in (product, jacobian))
    if depths is not None:
        reduction, reduction_gradient = depths.reduction()
        product = torch.baddbmm(product, reduction, jacobian, alpha=-1)
        gradient = gradient - reduction_gradient
    transposed = jacobian.reshape(b, -1, plan.variables).transpose(1, 2)
    system = transposed @ product.reshape(b, -1, plan.variables)
    system.diagonal(dim1=1, dim2=2).add_(diagonal * options.damping + options.damping_floor)
    return _solve_dense(system, (transposed @ gradient.reshape(b, -1, 1))[..., 0])


def _solve_dense(system: Tensor, right: Tensor) -> Tensor:
    """Solutions (b, n) of positive definite systems (b, n, n), 0 where one is not."""
    # Only the lower triangle is read, so that rounding cannot make the system asymmetric.
    factor, status = torch.linalg.cholesky_ex(system)
    solution = torch.cholesky_solve(right[..., None], factor)[..., 0]
    return torch.where((status == 0)[:, None], solution, 0.0)
