"""Bundle adjustment in native code.

Of a clip's camera poses, inverse depths and one focal length.

The model is the dense bundle adjustment of DROID-SLAM (Teed and Deng 2021, eq. 4) and MegaSaM: the points of a frame i
are pixels, each with an inverse depth d; an edge (i, j) observes them in frame j, with a weight. The homogeneous ray
[x, y, 1, d] of a pixel is transformed to [X, Y, Z, d] in frame j and projects to (fx X / Z + cx, fy Y / Z + cy); Z is
the ratio of the depth in j to the depth in i. The cost is

    sum of w rho(s) over observations + sum of m (d - d_prior)^2 over points + w_f (fx - f_prior)^2,

where w rho(s) is wu ru^2 + wv rv^2 for residuals r in px. Robust losses take s = (wu ru^2 + wv rv^2) / w with w the
mean of both weights (for equal weights the squared length of the residual). With k the loss scale, Huber is rho = s up
to k^2 and 2 k sqrt(s) - k^2 beyond, Cauchy k^2 log(1 + s / k^2).

Each iteration is a Gauss-Newton step with Levenberg-Marquardt damping (Marquardt 1963): iteratively reweighted least
squares, points eliminated from the normal equations by the Schur complement (Triggs et al. 2000), the reduced system
solved by Cholesky factorization in double precision. Poses are updated by exp(xi) G, xi = (tau, phi), inverse depths
additively, both focal lengths by a common factor.

Poses are cam_from_world [tx ty tz qx qy qz qw], camera axes x right, y down, z forward, pixel centers at integers.
Results are bit-identical for any number of threads, with AVX2 and AVX-512, and from all compilers; x86 processors
without AVX2 (no FMA) round differently.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from native import _native, se3

DoubleArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleProblem:
    """Poses, points and observations of one clip.

    Arrays of other dtypes are converted, which costs a copy. All arrays must be finite, except observations: those with
    a weight that is not positive and finite, or a target that is not finite, are ignored.

    Attributes:
      cam_from_world: (n, 7) float64.
      inverse_depth: (n, p) float64, 1 / z-depth, nonnegative; 0 is a point at infinity.
      pixels: (p, 2) float32 for all frames, or (n, p, 2): positions (u, v) of the points in their source frame, px.
      intrinsics: (4,) fx fy cx cy in px, shared by all frames.
      source, target: (e,) int32 frames i and j of the edges, i != j. Edges may repeat.
      target_px: (e, p, 2) float32: observed positions in frame j of the points of frame i.
      weight: (e, p, 2) float32 for u and v, or (e, p) for both: inverse variances in px^-2; 0 for no observation.
        Runs of points without observations cost little time.
      prior_inverse_depth, prior_weight: (n, p) float64, both or neither: prior inverse depths and their weights m;
        0 for no prior.
      point_damping: (n, p) float64, optional: added to the diagonal of the points' Hessian; limits steps, adds no cost.
      fixed: (n,) bool: poses that are held fixed; None for the first one only.
    """

    cam_from_world: npt.ArrayLike
    inverse_depth: npt.ArrayLike
    pixels: npt.ArrayLike
    intrinsics: npt.ArrayLike
    source: npt.ArrayLike
    target: npt.ArrayLike
    target_px: npt.ArrayLike
    weight: npt.ArrayLike
    prior_inverse_depth: npt.ArrayLike | None = None
    prior_weight: npt.ArrayLike | None = None
    point_damping: npt.ArrayLike | None = None
    fixed: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOptions:
    """Solver options.

    Attributes:
      iterations: maximum number of iterations, rejected steps included.
      optimize_poses, optimize_points, optimize_focal: free variables. Fixed inverse depths are
        not clamped to the limits below.
      focal_prior_px, focal_prior_weight: prior of fx and its weight in px^-2; 0 for none.
      adaptive: whether a step is accepted only if it lowers the cost, and the damping adapts (Levenberg-Marquardt). If
        not, all steps are accepted with constant damping and costs are not compared, which saves a tenth of the time:
        for a few steps inside an outer loop that updates the observations.
      damping: initial damping, relative to the diagonal of the Hessian.
      damping_up, damping_down, damping_min, damping_max: its factors after rejected and accepted steps, and its limits.
      pose_damping_floor, point_damping_floor: absolute damping of poses and focal length, and of points. The scale of a
        monocular clip without a prior is a gauge freedom: damping keeps the system positive definite and the scale
        near its initial value.
      tolerance: relative decrease of the cost predicted by the linear model at which the solver has converged.
      keep_scale: whether the result is rescaled about the fixed camera so that the median inverse depth is as before.
        Needs exactly one fixed pose, no prior of points, and free poses and points.
      min_depth_ratio: minimum ratio of a point's depth in the target to that in its source frame; observations below it
        are ignored, as are points behind the camera.
      min_inverse_depth, max_inverse_depth: limits of optimized inverse depths.
      robust_kernel, robust_scale_px: robust loss and its scale, see the module.
      precision: of the inner loops; sums are double. "single" is 1.6 times as fast, with errors below 1e-4 px.
      residuals: whether residuals and the final cost are computed; takes about a quarter of an iteration.
      variances: whether the marginal variances of poses and focal length are computed.
      num_threads: at least 1; results do not depend on it.
      simd: instruction set of the inner loops: auto, portable, avx2 or avx512.
    """

    iterations: int = 10
    optimize_poses: bool = True
    optimize_points: bool = True
    optimize_focal: bool = False
    focal_prior_px: float = 0.0
    focal_prior_weight: float = 0.0
    adaptive: bool = True
    damping: float = 1e-4
    damping_up: float = 10.0
    damping_down: float = 0.1
    damping_min: float = 1e-10
    damping_max: float = 1e8
    pose_damping_floor: float = 1e-6
    point_damping_floor: float = 1e-6
    tolerance: float = 1e-7
    keep_scale: bool = False
    min_depth_ratio: float = 0.25
    min_inverse_depth: float = 1e-6
    max_inverse_depth: float = float("inf")
    robust_kernel: Literal["none", "huber", "cauchy"] = "none"
    robust_scale_px: float = 1.0
    precision: Literal["single", "double"] = "double"
    residuals: bool = True
    variances: bool = False
    num_threads: int = 1
    simd: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleResult:
    """Result of bundle adjustment.

    Attributes:
      cam_from_world: (n, 7) float64.
      inverse_depth: (n, p) float64.
      intrinsics: (4,) float64.
      cost_history: cost at the start of each iteration and, if residuals were requested, at the end.
      residual_px: (e, p) float32 residual lengths, NaN where there is no observation; None if not requested.
      pose_variance: (n, 6) marginal variances of (tau, phi) if weights are inverse variances, 0 for fixed poses; None
        if not requested, or if the Hessian is singular (gauge freedom).
      focal_variance: variance of the logarithm of the focal length; None in the same cases, or if it is fixed.
      damping: final damping.
      iterations: number of iterations, rejected steps included.
      converged: whether the predicted relative decrease of the last step was within the tolerance.
    """

    cam_from_world: DoubleArray
    inverse_depth: DoubleArray
    intrinsics: DoubleArray
    cost_history: DoubleArray
    residual_px: SingleArray | None
    pose_variance: DoubleArray | None
    focal_variance: float | None
    damping: float
    iterations: int
    converged: bool


class Reprojection(NamedTuple):
    """Points projected into other frames.

    Attributes:
      pixels: (e, p, 2) float32, NaN where not valid.
      depth: (e, p) float32 z-depth in the target frame, NaN where not valid, infinite for points at infinity.
      valid: (e, p) bool: whether the depth ratio is at least `min_depth_ratio`. Points outside the image are valid.
    """

    pixels: SingleArray
    depth: SingleArray
    valid: npt.NDArray[np.bool_]


def bundle_adjust(problem: BundleProblem, options: BundleOptions | None = None) -> BundleResult:
    """Optimizes poses, inverse depths and focal length from the given initial values.

    Releases the GIL. Time grows with the number of observations times the edges per frame, and with the cube of the
    number of free poses.

    Raises:
      ValueError: for arrays of wrong shape, non-finite values outside of observations, invalid edges, or options out of
        range.
    """
    options = options or BundleOptions()
    geometry = _check_geometry(problem.cam_from_world, problem.inverse_depth, problem.pixels, problem.intrinsics)
    n = len(geometry[0])
    fixed = np.arange(n) == 0 if problem.fixed is None else np.asarray(problem.fixed, bool)
    _check_options(problem, options, fixed)
    option_values = {field.name: getattr(options, field.name) for field in fields(options)}
    option_values["focal_prior"] = option_values.pop("focal_prior_px")
    option_values["single_precision"] = option_values.pop("precision") == "single"
    result = _native.bundle_adjust(
        *geometry,
        _frame_indices("source", problem.source),
        _frame_indices("target", problem.target),
        np.asarray(problem.target_px, np.float32),
        np.asarray(problem.weight, np.float32),
        _check_optional("prior_inverse_depth", problem.prior_inverse_depth),
        _check_optional("prior_weight", problem.prior_weight, minimum=0.0),
        _check_optional("point_damping", problem.point_damping, minimum=0.0),
        np.asarray(fixed, np.uint8),
        option_values,
        options.robust_kernel,
        options.simd,
    )
    poses, inverse_depth, intrinsics, history, residuals, pose_variance, focal_variance, damping, steps, done = result
    if options.keep_scale:
        poses, inverse_depth = _rescale(poses, inverse_depth, np.asarray(problem.inverse_depth, np.float64), fixed)
    return BundleResult(
        cam_from_world=poses,
        inverse_depth=inverse_depth,
        intrinsics=intrinsics,
        cost_history=history,
        residual_px=residuals,
        pose_variance=pose_variance,
        focal_variance=None if np.isnan(focal_variance) else focal_variance,
        damping=damping,
        iterations=steps,
        converged=done,
    )


def reproject(
    cam_from_world: npt.ArrayLike,
    inverse_depth: npt.ArrayLike,
    pixels: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    min_depth_ratio: float = 0.25,
    num_threads: int = 1,
) -> Reprojection:
    """Projects points of the edges' source frames into the target frames; arguments as in `BundleProblem`.

    Raises:
      ValueError: for arrays of wrong shape, non-finite values, or invalid edges.
    """
    geometry = _check_geometry(cam_from_world, inverse_depth, pixels, intrinsics)
    edges = _frame_indices("source", source), _frame_indices("target", target)
    _check(min_depth_ratio > 0, "min_depth_ratio", min_depth_ratio, "above 0")
    _check(num_threads >= 1, "num_threads", num_threads, "at least 1")
    moved_px, depth, valid = _native.reproject(*geometry, *edges, min_depth_ratio, num_threads)
    return Reprojection(moved_px, depth, valid.view(np.bool_))


def frame_distance(
    cam_from_world: npt.ArrayLike,
    inverse_depth: npt.ArrayLike,
    pixels: npt.ArrayLike,
    intrinsics: npt.ArrayLike,
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    beta: float = 0.3,
    min_depth_ratio: float = 0.25,
    min_share: float = 0.75,
    num_threads: int = 1,
) -> DoubleArray:
    """(e,) float64 frame distances in px of induced flow, after DROID-SLAM; arguments as in `BundleProblem`.

    Mean over the source's points of beta x the flow magnitude + (1 - beta) x the magnitude of the flow by translation
    alone (the target rotated to the orientation of the source). Points must be in front of the target in both cases
    (`min_depth_ratio`); infinite if fewer than `min_share` of them are. Not symmetric: average both directions for a
    symmetric distance. Unlike here, DROID-SLAM adds the translation along the target's axes to rays along the source's.

    Raises:
      ValueError: for arrays of wrong shape, non-finite values, or invalid edges.
    """
    geometry = _check_geometry(cam_from_world, inverse_depth, pixels, intrinsics)
    edges = _frame_indices("source", source), _frame_indices("target", target)
    _check(0 <= beta <= 1, "beta", beta, "from 0 to 1")
    _check(min_depth_ratio > 0, "min_depth_ratio", min_depth_ratio, "above 0")
    _check(num_threads >= 1, "num_threads", num_threads, "at least 1")
    return _native.frame_distance(*geometry, *edges, beta, min_depth_ratio, min_share, num_threads)


def _check_geometry(
    cam_from_world: npt.ArrayLike, inverse_depth: npt.ArrayLike, pixels: npt.ArrayLike, intrinsics: npt.ArrayLike
) -> tuple[DoubleArray, DoubleArray, SingleArray, DoubleArray]:
    poses = _check_finite("cam_from_world", cam_from_world, np.float64)
    if poses.ndim != 2 or poses.shape[1] != 7:
        raise ValueError(f"cam_from_world must have the shape (frames, 7), got {poses.shape}")
    if not np.all(np.linalg.norm(poses[:, 3:], axis=1) > 0.5):
        raise ValueError("the quaternions of cam_from_world must have unit norm")
    intrinsics_px = _check_finite("intrinsics", intrinsics, np.float64)
    if intrinsics_px.shape != (4,) or not (intrinsics_px[:2] > 0).all():
        raise ValueError(f"intrinsics must be fx fy cx cy with positive focal lengths, got {intrinsics_px}")
    return (
        se3.normalize(poses),
        _check_finite("inverse_depth", inverse_depth, np.float64, minimum=0.0),
        _check_finite("pixels", pixels, np.float32),
        intrinsics_px,
    )


def _check_finite(name: str, values: npt.ArrayLike, dtype: Any, minimum: float | None = None) -> Any:
    array = np.asarray(values, dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    if minimum is not None and array.size and array.min() < minimum:
        raise ValueError(f"{name} must be at least {minimum:g}, got {array.min():g}")
    return array


def _check_optional(name: str, values: npt.ArrayLike | None, minimum: float | None = None) -> DoubleArray | None:
    return None if values is None else _check_finite(name, values, np.float64, minimum)


def _frame_indices(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int32]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, got {array.dtype}")
    return np.asarray(array.clip(-1, np.iinfo(np.int32).max), np.int32)


def _check(condition: bool, name: str, value: object, range_: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {range_}, got {value!r}")


def _check_options(problem: BundleProblem, options: BundleOptions, fixed: npt.NDArray[np.bool_]) -> None:
    o = options
    _check(o.iterations >= 0, "iterations", o.iterations, "at least 0")
    _check(o.num_threads >= 1, "num_threads", o.num_threads, "at least 1")
    _check(o.precision in ("single", "double"), "precision", o.precision, "single or double")
    _check(o.min_depth_ratio > 0, "min_depth_ratio", o.min_depth_ratio, "above 0")
    _check(o.robust_scale_px > 0, "robust_scale_px", o.robust_scale_px, "above 0")
    _check(0 <= o.damping_min <= o.damping_max, "damping_min", o.damping_min, "from 0 to damping_max")
    _check(0 <= o.damping < float("inf"), "damping", o.damping, "at least 0 and finite")
    _check(o.damping_up > 1, "damping_up", o.damping_up, "above 1")
    _check(0 < o.damping_down <= 1, "damping_down", o.damping_down, "above 0 and at most 1")
    _check(o.pose_damping_floor >= 0, "pose_damping_floor", o.pose_damping_floor, "at least 0")
    _check(o.point_damping_floor >= 0, "point_damping_floor", o.point_damping_floor, "at least 0")
    _check(o.tolerance >= 0, "tolerance", o.tolerance, "at least 0")
    has_valid_limits = 0 <= o.min_inverse_depth <= o.max_inverse_depth
    _check(has_valid_limits, "min_inverse_depth", o.min_inverse_depth, "from 0 to max_inverse_depth")
    _check(o.focal_prior_weight >= 0, "focal_prior_weight", o.focal_prior_weight, "at least 0")
    if o.focal_prior_weight > 0:
        _check(0 < o.focal_prior_px < float("inf"), "focal_prior_px", o.focal_prior_px, "above 0 where it has a weight")
    if (problem.prior_inverse_depth is None) != (problem.prior_weight is None):
        raise ValueError("prior_inverse_depth and prior_weight must be given together")
    has_free_scale = o.optimize_poses and o.optimize_points and problem.prior_weight is None and fixed.sum() == 1
    if o.keep_scale and not has_free_scale:
        raise ValueError("keep_scale needs exactly one fixed pose, free poses and points, and no prior of points")


def _rescale(
    poses: DoubleArray, inverse_depth: DoubleArray, before: DoubleArray, fixed: npt.NDArray[np.bool_]
) -> tuple[DoubleArray, DoubleArray]:
    new, old = np.median(inverse_depth), np.median(before)
    if not (new > 0 and old > 0):
        return poses, inverse_depth
    # Camera centers are scaled about the fixed one.
    world_from_cam = se3.invert(poses)
    center = world_from_cam[fixed, :3]
    world_from_cam[:, :3] = center + (world_from_cam[:, :3] - center) * (new / old)
    scaled = se3.invert(world_from_cam)
    scaled[fixed] = poses[fixed]
    return scaled, inverse_depth * (old / new)
