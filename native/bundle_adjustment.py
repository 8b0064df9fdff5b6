"""Bundle adjustment of camera poses, inverse depths and the focal length of one clip, in native code.

The model is that of dense visual odometry (DROID-SLAM, MegaSaM): the points of a frame i are pixels with an inverse
depth d each; an edge (i, j) says where they are seen in frame j, with a weight. A pixel's ray [x, y, 1, d] moves by
the poses to [X, Y, Z, d] in frame j and projects to (fx X / Z + cx, fy Y / Z + cy); Z is the point's depth in j over
its depth in i. The cost is

    sum of w rho(s) over observations + sum of m (d - d_prior)^2 over points + w_f (fx - f_prior)^2,

where w rho(s) is wu ru^2 + wv rv^2 for residuals r in px. A robust kernel takes s = (wu ru^2 + wv rv^2) / w with w
the mean of both weights (for equal weights the squared length of the residual): with k its scale, huber is
rho = s up to k^2 and 2 k sqrt(s) - k^2 beyond, cauchy k^2 log(1 + s / k^2).

Each step is Gauss-Newton with Levenberg-Marquardt damping, weights renewed at each step (iteratively reweighted least
squares), points eliminated by the Schur complement, the rest solved by a Cholesky factorisation in double precision.
Poses change by exp(xi) G, xi = (tau, phi), inverse depths by addition, the focal lengths together by a factor.

Poses are cam_from_world [tx ty tz qx qy qz qw], camera axes x right, y down, z forward, pixel centers at integers.
The same input gives the same bytes for any number of threads, with AVX2 and AVX-512, and from all compilers; x86
processors without AVX2 round otherwise.
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
    """One clip's poses, points and observations.

    Arrays of another type are converted, at the cost of a copy. Only observations may hold numbers that are not
    finite: those with a weight that is not above 0 or not finite, or with a target that is not finite, do not count.

    Attributes:
      cam_from_world: (n, 7) float64.
      inverse_depth: (n, p) float64, 1 / z-depth, at least 0; 0 is a point at infinity.
      pixels: (p, 2) float32 for all frames, or (n, p, 2): the points' positions (u, v) in their own frame.
      intrinsics: (4,) fx fy cx cy in px, of all frames.
      source, target: (e,) int32 frames i and j of the edges, i never j. An edge may occur more than once.
      target_px: (e, p, 2) float32: where the points of frame i are seen in frame j.
      weight: (e, p, 2) float32 for u and v, or (e, p) for both: inverse variances in px^-2; 0 for no observation.
        Stretches of points without an observation cost little time.
      prior_inverse_depth, prior_weight: (n, p) float64, both or none: expected inverse depths, and how much an
        error of 1 squared costs; 0 for no prior.
      point_damping: (n, p) float64 or none: added to the points' own curvature, as a step limit that costs nothing.
      fixed: (n,) bool: poses that stay as they are; none for the first one only.
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
    """How to solve.

    Attributes:
      iterations: steps at most, rejected ones too.
      optimize_poses, optimize_points, optimize_focal: what may change. Where points stay, their inverse depths stay
        untouched, also those out of the limits below.
      focal_prior_px, focal_prior_weight: expected fx and what 1 px^2 of error costs; weight 0 for none.
      adaptive: whether a step is taken only if it lowers the cost, the damping falling after good steps and rising
        after bad ones. If not, all steps are taken with the damping as it is, and no cost is compared, which
        saves a tenth of the time: for a few steps inside a loop that looks at the images again.
      damping: share of the curvature's diagonal that is added to it at first.
      damping_up, damping_down, damping_min, damping_max: its factors after bad and good steps, and its limits.
      pose_damping_floor, point_damping_floor: added to the diagonal for poses and focal length, and for points.
        Without a prior the scale of a monocular clip is free: damping keeps the solve well posed, and the scale
        near where it was.
      tolerance: a step that promises to lower the cost by no more than this share of it ends the solve.
      keep_scale: whether positions and inverse depths are at last scaled, about the fixed camera, so that the median
        inverse depth is as before. Needs exactly one fixed pose, no prior of points, and poses and points to be
        optimized.
      min_depth_ratio: observations of points whose depth in the target is less than this share of that in their own
        frame do not count, nor do those behind the camera.
      min_inverse_depth, max_inverse_depth: limits of optimized points.
      robust_kernel, robust_scale_px: see the module.
      precision: of the inner loops; sums are double. "single" is 1.6 times as fast and errs by less than 1e-4 px.
      residuals: whether the residuals and the last cost are measured; costs about a quarter of an iteration.
      variances: whether the variances of poses and focal length are computed at the end.
      num_threads: at least 1.
      simd: code path of the inner loops: auto, portable, avx2 or avx512.
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
    """What bundle adjustment found.

    Attributes:
      cam_from_world: (n, 7) float64.
      inverse_depth: (n, p) float64.
      intrinsics: (4,) float64.
      cost_history: cost at the start of each iteration and, if residuals were asked for, at the end.
      residual_px: (e, p) float32 lengths of the residuals, NaN where there is no observation; none if not asked for.
      pose_variance: (n, 6) variances of (tau, phi) for weights that are inverse variances, 0 for fixed poses;
        none if not asked for, or if the problem leaves a combination of the variables free.
      focal_variance: variance of the focal length's logarithm; none in the same cases, or if it was fixed.
      damping: that the next iteration would have begun with.
      iterations: done, rejected steps included.
      converged: whether the last step promised no more than the tolerance.
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
    """Where points are in other frames.

    Attributes:
      pixels: (e, p, 2) float32, NaN where not valid.
      depth: (e, p) float32 z-depth in the target frame, NaN where not valid, infinite for points at infinity.
      valid: (e, p) bool: whether the depth is at least the least share of that in the source frame. Points out of
        the picture are valid.
    """

    pixels: SingleArray
    depth: SingleArray
    valid: npt.NDArray[np.bool_]


def bundle_adjust(problem: BundleProblem, options: BundleOptions | None = None) -> BundleResult:
    """Finds the poses, inverse depths and focal length of least cost near the given ones.

    Releases the interpreter lock while it computes. Time grows with the observations times the edges that leave a
    frame, and with the third power of the number of free poses.

    Raises:
      ValueError: for arrays of wrong shapes, numbers that are not finite outside of observations, edges that do not
        join two frames, or options out of their range.
    """
    options = options or BundleOptions()
    scene = _scene(problem.cam_from_world, problem.inverse_depth, problem.pixels, problem.intrinsics)
    n = len(scene[0])
    fixed = np.arange(n) == 0 if problem.fixed is None else np.asarray(problem.fixed, bool)
    _check_options(problem, options, fixed)
    numbers = {field.name: getattr(options, field.name) for field in fields(options)}
    numbers["focal_prior"] = numbers.pop("focal_prior_px")
    numbers["single_precision"] = numbers.pop("precision") == "single"
    found = _native.bundle_adjust(
        *scene,
        _frames("source", problem.source),
        _frames("target", problem.target),
        np.asarray(problem.target_px, np.float32),
        np.asarray(problem.weight, np.float32),
        _finite_if_given("prior_inverse_depth", problem.prior_inverse_depth),
        _finite_if_given("prior_weight", problem.prior_weight, lowest=0.0),
        _finite_if_given("point_damping", problem.point_damping, lowest=0.0),
        np.asarray(fixed, np.uint8),
        numbers,
        options.robust_kernel,
        options.simd,
    )
    poses, inverse_depth, intrinsics, history, residuals, pose_variance, focal_variance, damping, steps, done = found
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
    """Where the points of the edges' source frames are in their target frames; arguments as in `BundleProblem`.

    Raises:
      ValueError: for arrays of wrong shapes, numbers that are not finite, or edges that do not join two frames.
    """
    scene = _scene(cam_from_world, inverse_depth, pixels, intrinsics)
    edges = _frames("source", source), _frames("target", target)
    _check(min_depth_ratio > 0, "min_depth_ratio", min_depth_ratio, "above 0")
    _check(num_threads >= 1, "num_threads", num_threads, "at least 1")
    moved_px, depth, valid = _native.reproject(*scene, *edges, min_depth_ratio, num_threads)
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
    """(e,) float64: how far the edges' frames are from each other, in px of flow; arguments as in `BundleProblem`.

    The mean over the source's points of beta x the length of the flow + (1 - beta) x the length that it has without
    the cameras' rotation (the target turned to look as the source does). Points count that are in front of the target
    in both cases (`min_depth_ratio`). Infinite where fewer than `min_share` of them count. Not symmetric: for a
    distance that is, take the mean of both directions. After the distance of DROID-SLAM, which adds the translation
    along the target's axes to rays along the source's.

    Raises:
      ValueError: for arrays of wrong shapes, numbers that are not finite, or edges that do not join two frames.
    """
    scene = _scene(cam_from_world, inverse_depth, pixels, intrinsics)
    edges = _frames("source", source), _frames("target", target)
    _check(0 <= beta <= 1, "beta", beta, "from 0 to 1")
    _check(min_depth_ratio > 0, "min_depth_ratio", min_depth_ratio, "above 0")
    _check(num_threads >= 1, "num_threads", num_threads, "at least 1")
    return _native.frame_distance(*scene, *edges, beta, min_depth_ratio, min_share, num_threads)


def _scene(
    cam_from_world: npt.ArrayLike, inverse_depth: npt.ArrayLike, pixels: npt.ArrayLike, intrinsics: npt.ArrayLike
) -> tuple[DoubleArray, DoubleArray, SingleArray, DoubleArray]:
    poses = _finite("cam_from_world", cam_from_world, np.float64)
    if poses.ndim != 2 or poses.shape[1] != 7:
        raise ValueError(f"cam_from_world must have the shape (frames, 7), got {poses.shape}")
    if not np.all(np.linalg.norm(poses[:, 3:], axis=1) > 0.5):
        raise ValueError("the quaternions of cam_from_world must have unit norm")
    camera = _finite("intrinsics", intrinsics, np.float64)
    if camera.shape != (4,) or not (camera[:2] > 0).all():
        raise ValueError(f"intrinsics must be four numbers fx fy cx cy with focal lengths above 0, got {camera}")
    return (
        se3.normalize(poses),
        _finite("inverse_depth", inverse_depth, np.float64, lowest=0.0),
        _finite("pixels", pixels, np.float32),
        camera,
    )


def _finite(name: str, values: npt.ArrayLike, dtype: Any, lowest: float | None = None) -> Any:
    array = np.asarray(values, dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    if lowest is not None and array.size and array.min() < lowest:
        raise ValueError(f"{name} must be at least {lowest:g}, got {array.min():g}")
    return array


def _finite_if_given(name: str, values: npt.ArrayLike | None, lowest: float | None = None) -> DoubleArray | None:
    return None if values is None else _finite(name, values, np.float64, lowest)


def _frames(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int32]:
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
    limits_fit = 0 <= o.min_inverse_depth <= o.max_inverse_depth
    _check(limits_fit, "min_inverse_depth", o.min_inverse_depth, "from 0 to max_inverse_depth")
    _check(o.focal_prior_weight >= 0, "focal_prior_weight", o.focal_prior_weight, "at least 0")
    if o.focal_prior_weight > 0:
        _check(0 < o.focal_prior_px < float("inf"), "focal_prior_px", o.focal_prior_px, "above 0 where it has a weight")
    if (problem.prior_inverse_depth is None) != (problem.prior_weight is None):
        raise ValueError("prior_inverse_depth and prior_weight must be given both or not at all")
    free_scale = o.optimize_poses and o.optimize_points and problem.prior_weight is None and fixed.sum() == 1
    if o.keep_scale and not free_scale:
        raise ValueError("keep_scale needs exactly one fixed pose, free poses and points, and no prior of points")


def _rescale(
    poses: DoubleArray, inverse_depth: DoubleArray, before: DoubleArray, fixed: npt.NDArray[np.bool_]
) -> tuple[DoubleArray, DoubleArray]:
    new, old = np.median(inverse_depth), np.median(before)
    if not (new > 0 and old > 0):
        return poses, inverse_depth
    # Camera centers move on their rays from the fixed one, which stays.
    world_from_cam = se3.invert(poses)
    center = world_from_cam[fixed, :3]
    world_from_cam[:, :3] = center + (world_from_cam[:, :3] - center) * (new / old)
    scaled = se3.invert(world_from_cam)
    scaled[fixed] = poses[fixed]
    return scaled, inverse_depth * (old / new)
