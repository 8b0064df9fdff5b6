"""Bundle adjustment of the poses, inverse depths and focal lengths of many clips at once, on the device.

Gauss-Newton on sum of w |r|^2 over the pixels of all edges (i, j) plus alpha (d - prior)^2 over the pixels of frames.
A pixel's observation depends on the poses only through the edge's own motion y = xi_j - Ad(G_ij) xi_i. So all sums are
taken edge by edge in (y, log f), inverse depths are eliminated frame by frame there, and one small matrix a frame,
which holds the -Ad blocks, carries the rest to the clip's variables. All sums are matrix products, which add in one
order: equal inputs give equal bits. The last system, 6 to a free pose and one for the focal length, is solved densely
in double precision. Where our CUDA kernels can be used, eight of them do a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.slam.bundle_plan import BundlePlan
from models.slam.edge_terms import ROWS, EdgeTerms, carry_edges, linearize, linearize_on_device, sum_points
from models.slam.geometry import Cameras
from models.slam.settings import TrackerParity
from native.cuda import adjustment as kernels

MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 1e-3, 100.0
MAX_FOCAL_STEP = 0.2
"""No step changes the focal length by a larger share: far from the solution its curvature says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBAOptions:
    """How to solve.

    Attributes:
      iterations: Gauss-Newton steps.
      damping: share of the curvature's diagonal that is added to it, for poses and focal length.
      damping_floor: added to that diagonal.
      motion_only: inverse depths stay.
      parity: errors of the reference that are copied; of use here are `one_depth_step` and `skip_first_pose`.
    """

    iterations: int = 2
    damping: float = 1e-4
    damping_floor: float = 0.1
    motion_only: bool = False
    parity: TrackerParity = field(default_factory=TrackerParity)


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
    options = options or DenseBAOptions()
    parity = options.parity
    is_copy = parity.one_depth_step or parity.skip_first_pose
    for iteration in range(options.iterations):
        if cameras.fit_kernels and not is_copy:
            _step_on_device(cameras, plan, target_px, weight, eta, alpha, with_focal, options)
            continue
        terms = linearize(cameras, plan, target_px, weight)
        carry = carry_edges(cameras, plan, with_focal)
        if options.motion_only:
            step = _solve(plan, terms, carry, options, None)
        else:
            points = _Points(plan, terms, carry, *sum_points(cameras, plan, terms.points, eta, alpha))
            step = _solve(plan, terms, carry, options, points)
            is_lost = parity.one_depth_step and with_focal is None and iteration > 0
            if not is_lost:
                follows = torch.cat([torch.zeros_like(step[:, :6]), step[:, 6:]], 1) if parity.skip_first_pose else step
                moved = cameras.inverse_depth[plan.used_frame] + points.move(follows).reshape(-1, *eta.shape[1:])
                cameras.inverse_depth[plan.used_frame] = moved.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)
        cameras.retract(plan.free, step[:, :-1].reshape(-1, 6)[plan.free_place])
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
    """One step by the CUDA kernels."""
    layout = ((*plan.ends, plan.frame, plan.clips), plan.shape, plan.poses, with_focal)
    sums, mixed, points = linearize_on_device(cameras, plan, target_px, weight)
    known, taken = None, None
    if not options.motion_only:
        maps = (cameras.prior, eta, alpha, plan.frame, plan.edge)
        inverse, gradient, taken = kernels.eliminate(cameras.tensors, *maps, mixed, points)
        known = (mixed, inverse, gradient)
    damping = (options.damping, options.damping_floor)
    systems, motion = kernels.build_systems(cameras.tensors, *layout, sums, taken, *damping)
    if plan.variables <= kernels.MAX_VARIABLES:
        steps = kernels.solve_systems(systems)
    else:
        steps = _solve_dense(systems[:, :-1], systems[:, -1])
    limits = (MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH, MAX_FOCAL_STEP)
    kernels.move(cameras.tensors, *layout, plan.free, plan.free_place, steps, motion, known, limits)


class _Points:
    """Inverse depths, eliminated from the system and found again from its solution."""

    def __init__(self, plan: BundlePlan, terms: EdgeTerms, carry: Tensor, inverse: Tensor, gradient: Tensor) -> None:
        b, k, d = plan.shape
        self._plan, self._inverse, self._gradient = plan, inverse, gradient
        self._mixed = terms.mixed.reshape(b * k, d * ROWS, -1)
        self._carry = carry.reshape(b, -1, plan.variables)

    def curvature(self) -> tuple[Tensor, Tensor]:
        """(b k, d 7, d 7) and (b k, d 7) float64 what the elimination takes from curvature and gradient."""
        scaled = self._mixed * self._inverse[:, None]
        curvature = scaled @ self._mixed.transpose(1, 2)
        return curvature.double(), (scaled @ self._gradient[..., None])[..., 0].double()

    def move(self, step: Tensor) -> Tensor:
        """(m, p) steps of the used frames' inverse depths, from the step of poses and focal lengths."""
        own = (self._carry @ step[..., None]).reshape(len(self._mixed), 1, -1).to(self._mixed.dtype)
        return (self._inverse * (self._gradient - (own @ self._mixed)[:, 0]))[self._plan.used_row]


def _solve(
    plan: BundlePlan, terms: EdgeTerms, carry: Tensor, options: DenseBAOptions, points: _Points | None
) -> Tensor:
    """Steps (b, variables) float64 of poses and of focal lengths / (2 cx)."""
    b, k, d = plan.shape
    bent = terms.curvature.double() @ carry
    diagonal = (carry * bent).reshape(b, -1, plan.variables).sum(1)
    gradient = terms.gradient.double().reshape(b * k, d * ROWS)
    bent, carry = (x.reshape(b * k, d * ROWS, plan.variables) for x in (bent, carry))
    if points is not None:
        taken, taken_gradient = points.curvature()
        bent = torch.baddbmm(bent, taken, carry, alpha=-1)
        gradient = gradient - taken_gradient
    across = carry.reshape(b, -1, plan.variables).transpose(1, 2)
    system = across @ bent.reshape(b, -1, plan.variables)
    system.diagonal(dim1=1, dim2=2).add_(diagonal * options.damping + options.damping_floor)
    return _solve_dense(system, (across @ gradient.reshape(b, -1, 1))[..., 0])


def _solve_dense(system: Tensor, right: Tensor) -> Tensor:
    """Solutions (b, n) of positive systems (b, n, n), 0 where one is not."""
    # Only the lower triangle is read, so that rounding cannot make the system unsymmetric.
    factor, status = torch.linalg.cholesky_ex(system)
    found = torch.cholesky_solve(right[..., None], factor)[..., 0]
    return torch.where((status == 0)[:, None], found, 0.0)
