from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust, frame_distance, reproject

K = np.array([500.0, 520.0, 322.0, 238.0])
PATHS = ("portable", "avx2", "avx512")


def available_paths():
    problem = scene(frames=2, points=3).problem()
    found = []
    for simd in PATHS:
        try:
            bundle_adjust(problem, BundleOptions(iterations=0, simd=simd))
        except ValueError:
            continue
        found.append(simd)
    return found


class Scene:
    """A moving camera and random points: ground truth, observations, and a perturbed initial state."""

    def __init__(self, seed, frames, points, shared_pixels, pose_error, depth_error):
        rng = np.random.default_rng(seed)
        self.rng = rng
        motion = rng.normal(size=(frames, 6)) * [0.12, 0.12, 0.12, 0.03, 0.03, 0.03]
        motion[0] = 0
        self.cam_from_world = se3.exp(np.cumsum(motion, axis=0))
        shape = (points,) if shared_pixels else (frames, points)
        self.pixels = rng.uniform([0, 0], [640, 480], (*shape, 2)).astype(np.float32)
        self.inverse_depth = rng.uniform(0.15, 1.0, (frames, points))
        self.source, self.target = np.array([(i, j) for i in range(frames) for j in range(frames) if i != j]).T
        self.observe()
        error = rng.normal(size=(frames, 6)) * pose_error
        error[0] = 0
        self.start = se3.compose(se3.exp(error), self.cam_from_world)
        self.start_depth = self.inverse_depth * np.exp(rng.normal(size=self.inverse_depth.shape) * depth_error)

    def observe(self):
        geometry = (self.cam_from_world, self.inverse_depth, self.pixels, K, self.source, self.target)
        seen = reproject(*geometry, min_depth_ratio=0.3)
        self.target_px = seen.pixels
        self.weight = np.repeat(seen.valid[..., None].astype(np.float32), 2, axis=2)

    def problem(self, **changes):
        arrays = {
            "cam_from_world": self.start,
            "inverse_depth": self.start_depth,
            "pixels": self.pixels,
            "intrinsics": K,
            "source": self.source,
            "target": self.target,
            "target_px": self.target_px,
            "weight": self.weight,
        }
        return BundleProblem(**{**arrays, **changes})

    def pose_error(self, poses):
        """Maximum error of the poses in tangent space."""
        return np.abs(se3.log(se3.compose(poses, se3.invert(self.cam_from_world)))).max()


def scene(seed=0, frames=4, points=30, shared_pixels=True, pose_error=0.02, depth_error=0.1):
    return Scene(seed, frames, points, shared_pixels, pose_error, depth_error)


SIMD = available_paths()


# The reference: one dense system of all variables, with complex-step derivatives, exact to rounding.


def moved_points(problem, xi, delta, s):
    """Homogeneous points in the target camera, (e, p, 4), of a perturbed problem; complex."""
    fx, fy, cx, cy = problem.intrinsics
    factor = np.exp(s)
    n, p = np.shape(problem.inverse_depth)
    pixels = np.broadcast_to(np.asarray(problem.pixels, np.float64), (n, p, 2))
    d = problem.inverse_depth + delta
    x, y = (pixels[..., 0] - cx) / (fx * factor), (pixels[..., 1] - cy) / (fy * factor)
    points = np.stack([x + 0 * d, y + 0 * d, 1 + 0 * d, d], axis=-1)
    matrices = se3.to_matrix(problem.cam_from_world).astype(complex)
    for i in range(n):
        generator = np.zeros((4, 4), complex)
        a, b, c = xi[i, 3:]
        generator[:3, :3] = [[0, -c, b], [c, 0, -a], [-b, a, 0]]
        generator[:3, 3] = xi[i, :3]
        matrices[i] = (np.eye(4) + generator) @ matrices[i]
    relative = matrices[problem.target] @ np.linalg.inv(matrices[problem.source])
    return np.einsum("eij,epj->epi", relative, points[problem.source])


def residuals(problem, xi, delta, s):
    fx, fy, cx, cy = problem.intrinsics
    moved = moved_points(problem, xi, delta, s)
    u = fx * np.exp(s) * moved[..., 0] / moved[..., 2] + cx
    v = fy * np.exp(s) * moved[..., 1] / moved[..., 2] + cy
    return np.nan_to_num(np.asarray(problem.target_px, np.float64)) - np.stack([u, v], axis=-1)


def jacobian(problem):
    """d(prediction)/d(all variables): (e, p, 2, 6 n + n p + 1)."""
    n, p = np.shape(problem.inverse_depth)
    columns = []
    for i in range(6 * n + n * p + 1):
        step = np.zeros(6 * n + n * p + 1, complex)
        step[i] = 1e-30j
        columns.append(-residuals(problem, *split(step, n, p)).imag / 1e-30)
    return np.stack(columns, axis=-1)


def split(step, n, p):
    return step[: 6 * n].reshape(n, 6), step[6 * n : -1].reshape(n, p), step[-1]


def robust(problem, options, r, weight):
    """Derivative and value of the robust loss at each observation."""
    mean = weight.mean(axis=-1)
    s = (weight * r**2).sum(axis=-1) / np.where(mean > 0, mean, 1)
    k2 = options.robust_scale_px**2
    if options.robust_kernel == "huber":
        root = np.sqrt(k2 * np.maximum(s, k2))
        return np.where(s > k2, k2 / root, 1), mean * np.where(s > k2, 2 * root - k2, s)
    if options.robust_kernel == "cauchy":
        return 1 / (1 + s / k2), mean * k2 * np.log1p(s / k2)
    return np.ones_like(s), mean * s


def weights_of(problem, options):
    n, p = np.shape(problem.inverse_depth)
    weight = np.asarray(problem.weight, np.float64)
    weight = np.repeat(weight[..., None], 2, axis=2) if weight.ndim == 2 else weight
    depth = moved_points(problem, *split(np.zeros(6 * n + n * p + 1), n, p))[..., 2].real
    finite = np.isfinite(problem.target_px).all(axis=-1)
    return np.where(((depth >= options.min_depth_ratio) & finite)[..., None], weight, 0)


def dense_step(problem, options, fixed):
    """(pose tangents, depth changes, change of log focal length, cost) of one damped Gauss-Newton step."""
    n, p = np.shape(problem.inverse_depth)
    r = residuals(problem, *split(np.zeros(6 * n + n * p + 1), n, p)).real
    weight = weights_of(problem, options)
    slope, costs = robust(problem, options, r, weight)
    J = jacobian(problem).reshape(-1, 6 * n + n * p + 1)
    w = (weight * slope[..., None]).ravel()
    H, g = J.T @ (w[:, None] * J), J.T @ (w * r.ravel())
    cost = costs.sum()
    depths = slice(6 * n, 6 * n + n * p)
    floor = np.full(len(g), options.pose_damping_floor)
    floor[depths] = options.point_damping_floor
    if problem.point_damping is not None:
        floor[depths] += np.ravel(problem.point_damping)
    if problem.prior_weight is not None:
        error = problem.prior_inverse_depth - problem.inverse_depth
        H[depths, depths] += np.diag(problem.prior_weight.ravel())
        g[depths] += (problem.prior_weight * error).ravel()
        cost += (problem.prior_weight * error**2).sum()
    if options.optimize_focal:
        fx = problem.intrinsics[0]
        H[-1, -1] += options.focal_prior_weight * fx**2
        g[-1] += options.focal_prior_weight * fx * (options.focal_prior_px - fx)
        cost += options.focal_prior_weight * (options.focal_prior_px - fx) ** 2
    H += np.diag(options.damping * np.diag(H) + floor)
    free = np.concatenate(
        [
            np.repeat(~np.asarray(fixed) & options.optimize_poses, 6),
            np.full(n * p, options.optimize_points),
            [options.optimize_focal],
        ]
    )
    step = np.zeros(len(g))
    step[free] = np.linalg.solve(H[np.ix_(free, free)], g[free])
    tangents, depths, s = split(step, n, p)
    limited = np.maximum(problem.inverse_depth + depths, options.min_inverse_depth)
    return tangents, limited - problem.inverse_depth, np.clip(s, -0.7, 0.7), cost


def native_step(problem, options):
    """The same of the native solver, from its result."""
    found = bundle_adjust(problem, replace(options, iterations=1, adaptive=False))
    tangents = se3.log(se3.compose(found.cam_from_world, se3.invert(problem.cam_from_world)))
    s = np.log(found.intrinsics[0] / problem.intrinsics[0])
    assert found.intrinsics[1] / found.intrinsics[0] == pytest.approx(problem.intrinsics[1] / problem.intrinsics[0])
    return tangents, found.inverse_depth - problem.inverse_depth, s, found.cost_history[0]


def assert_same_step(problem, options, fixed, relative=1e-8):
    expected, found = dense_step(problem, options, fixed), native_step(problem, options)
    for name, a, b in zip(("poses", "depths", "focal", "cost"), expected, found, strict=True):
        scale = np.abs(a).max()
        np.testing.assert_allclose(b, a, atol=relative * scale + 1e-15, rtol=0, err_msg=name)


CASES = {
    "full": {},
    "focal": {"optimize_focal": True},
    "focal prior": {"optimize_focal": True, "focal_prior_px": 480.0, "focal_prior_weight": 0.3},
    "motion only": {"optimize_points": False},
    "motion and focal": {"optimize_points": False, "optimize_focal": True},
    "points only": {"optimize_poses": False},
    "points and focal": {"optimize_poses": False, "optimize_focal": True},
    "focal only": {"optimize_poses": False, "optimize_points": False, "optimize_focal": True},
    "huber": {"robust_kernel": "huber", "robust_scale_px": 8.0},
    "cauchy": {"robust_kernel": "cauchy", "robust_scale_px": 5.0, "optimize_focal": True},
}


@pytest.mark.parametrize("simd", SIMD)
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_one_dense_system(case, simd):
    s = scene(seed=3, frames=4, points=21)
    weight = s.weight * s.rng.uniform(0, 2, s.weight.shape).astype(np.float32)
    weight[s.rng.uniform(size=weight.shape[:2]) < 0.2] = 0
    options = BundleOptions(damping=1e-3, pose_damping_floor=0.1, point_damping_floor=0.01, simd=simd, **CASES[case])
    assert_same_step(s.problem(weight=weight), options, fixed=np.arange(4) == 0)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(2, 5),
    points=st.integers(1, 20),
    fixed=st.integers(1, 15),
    focal=st.booleans(),
    flat_weight=st.booleans(),
    shared=st.booleans(),
    kernel=st.sampled_from(["none", "huber", "cauchy"]),
)
def test_steps_of_any_problem(seed, frames, points, fixed, focal, flat_weight, shared, kernel):
    s = scene(seed, frames, points, shared_pixels=shared)
    rng = s.rng
    keep = rng.integers(0, len(s.source), 2 * frames)  # some edges twice, some frames perhaps without any
    weight = s.weight[keep] * rng.uniform(0, 2, s.weight[keep].shape).astype(np.float32)
    problem = s.problem(
        source=s.source[keep],
        target=s.target[keep],
        target_px=s.target_px[keep] + rng.normal(size=s.target_px[keep].shape).astype(np.float32),
        weight=weight[..., 0] if flat_weight else weight,
        prior_inverse_depth=rng.uniform(0.1, 1, (frames, points)),
        prior_weight=rng.uniform(0, 1e3, (frames, points)) * (rng.uniform(size=(frames, points)) < 0.5),
        point_damping=rng.uniform(0, 10, (frames, points)),
        fixed=[bool(fixed >> i & 1) for i in range(frames)],
    )
    options = BundleOptions(
        optimize_focal=focal, damping=1e-2, pose_damping_floor=10.0, point_damping_floor=1.0, robust_kernel=kernel
    )
    assert_same_step(problem, options, problem.fixed, relative=1e-7)


def test_two_steps_are_one_after_the_other_with_the_same_damping():
    s = scene(seed=3)
    options = BundleOptions(iterations=1, adaptive=False, damping=1e-2)
    one = bundle_adjust(s.problem(), options)
    other = s.problem(cam_from_world=one.cam_from_world, inverse_depth=one.inverse_depth)
    two = bundle_adjust(s.problem(), replace(options, iterations=2))
    assert two.damping == 1e-2
    np.testing.assert_allclose(bundle_adjust(other, options).cam_from_world, two.cam_from_world, atol=1e-12)


def test_points_of_more_than_one_tile():
    s = scene(seed=5, frames=2, points=301)
    assert_same_step(s.problem(), BundleOptions(damping=1e-3), fixed=np.arange(2) == 0)


@pytest.mark.parametrize("simd", SIMD)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_motion_only_equals_points_with_infinite_damping(precision, simd):
    """Edge by edge equals tile by tile, over several tiles and a partial one."""
    s = scene(seed=8, points=1101)
    weight = s.weight * s.rng.uniform(0.5, 2, s.weight.shape).astype(np.float32)
    weight[2, 500:] = 0
    options = BundleOptions(iterations=1, adaptive=False, precision=precision, simd=simd)
    alone = bundle_adjust(s.problem(weight=weight), replace(options, optimize_points=False))
    held = bundle_adjust(s.problem(weight=weight), replace(options, point_damping_floor=1e25))
    assert s.pose_error(alone.cam_from_world) < 0.8 * s.pose_error(s.start)
    tolerance = 1e-12 if precision == "double" else 1e-6
    np.testing.assert_allclose(alone.cam_from_world, held.cam_from_world, atol=tolerance)
    np.testing.assert_allclose(alone.cost_history, held.cost_history, rtol=1e-6)


@pytest.mark.parametrize("simd", SIMD)
def test_single_precision_takes_nearly_the_same_step(simd):
    s = scene(seed=3, points=300)
    double, single = (
        native_step(s.problem(), BundleOptions(damping=1e-3, precision=precision, simd=simd, optimize_focal=True))
        for precision in ("double", "single")
    )
    for a, b in zip(double, single, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-3 * np.abs(a).max())


# Convergence to the truth.


def test_full_adjustment_converges_up_to_scale():
    s = scene(seed=1, frames=5, points=200)
    found = bundle_adjust(s.problem(), BundleOptions(iterations=20))
    assert found.converged
    assert found.cost_history[-1] < 1e-3 * len(s.source)
    assert np.nanmax(found.residual_px) < 1e-3
    scale = np.median(found.inverse_depth / s.inverse_depth)
    np.testing.assert_allclose(found.inverse_depth / scale, s.inverse_depth, rtol=1e-4)
    scaled = found.cam_from_world.copy()
    scaled[:, :3] *= scale
    assert s.pose_error(scaled) < 1e-5


def test_scale_is_kept_when_asked_for():
    s = scene(seed=1, frames=5, points=200)
    start = s.start_depth * 1.3
    found = bundle_adjust(s.problem(inverse_depth=start), BundleOptions(iterations=30, keep_scale=True))
    assert np.median(found.inverse_depth) == pytest.approx(np.median(start), rel=1e-12)
    np.testing.assert_array_equal(found.cam_from_world[0], s.start[0])
    again = reproject(found.cam_from_world, found.inverse_depth, s.pixels, K, s.source, s.target)
    assert np.nanmax(np.abs(again.pixels - s.target_px)) < 1e-2


def test_a_prior_of_depth_gives_the_scale():
    s = scene(seed=2, frames=4, points=200)
    prior_weight = np.zeros_like(s.inverse_depth)
    prior_weight[0, :50] = 1e4
    problem = s.problem(inverse_depth=2 * s.start_depth, prior_inverse_depth=s.inverse_depth, prior_weight=prior_weight)
    found = bundle_adjust(problem, BundleOptions(iterations=40, tolerance=0))
    np.testing.assert_allclose(found.inverse_depth, s.inverse_depth, rtol=1e-3)
    assert s.pose_error(found.cam_from_world) < 1e-4


def test_two_fixed_poses_give_the_scale():
    s = scene(seed=2, frames=4, points=200)
    start = s.start.copy()
    start[1] = s.cam_from_world[1]
    found = bundle_adjust(s.problem(cam_from_world=start, fixed=[1, 1, 0, 0]), BundleOptions(iterations=30))
    np.testing.assert_array_equal(found.cam_from_world[:2], se3.normalize(start[:2]))
    assert s.pose_error(found.cam_from_world) < 1e-5


def test_motion_only_keeps_the_points():
    s = scene(seed=4, frames=5, points=100, pose_error=0.05)
    found = bundle_adjust(s.problem(inverse_depth=s.inverse_depth), BundleOptions(optimize_points=False))
    assert s.pose_error(found.cam_from_world) < 1e-6
    np.testing.assert_array_equal(found.inverse_depth, s.inverse_depth)


def test_the_focal_length_is_found():
    s = scene(seed=6, frames=6, points=200)
    wrong = K * [1.15, 1.15, 1, 1]
    found = bundle_adjust(s.problem(intrinsics=wrong), BundleOptions(iterations=40, optimize_focal=True))
    np.testing.assert_allclose(found.intrinsics, K, rtol=1e-5)


def test_a_focal_prior_fixes_an_unobservable_focal_length():
    s = scene(seed=6, frames=3, points=50)
    options = BundleOptions(iterations=5, optimize_focal=True, focal_prior_px=430.0, focal_prior_weight=1.0)
    found = bundle_adjust(s.problem(weight=np.zeros_like(s.weight)), options)
    assert found.intrinsics[0] == pytest.approx(430.0, abs=1e-6)
    assert found.intrinsics[1] == pytest.approx(430.0 * K[1] / K[0], abs=1e-6)


@pytest.mark.parametrize("kernel", ["huber", "cauchy"])
def test_robust_losses_suppress_outliers(kernel):
    s = scene(seed=7, frames=6, points=200, pose_error=0.01, depth_error=0.05)
    wrong = s.rng.uniform(size=s.weight.shape[:2]) < 0.3
    target = s.target_px.copy()
    target[wrong] += s.rng.uniform(-60, 60, (wrong.sum(), 2)).astype(np.float32)
    problem = s.problem(target_px=target, inverse_depth=s.inverse_depth)
    options = BundleOptions(iterations=60, optimize_points=False)
    plain = s.pose_error(bundle_adjust(problem, options).cam_from_world)
    robust_options = replace(options, robust_kernel=kernel, robust_scale_px=0.5)
    found = bundle_adjust(problem, robust_options)
    assert s.pose_error(found.cam_from_world) < {"huber": 2e-3, "cauchy": 1e-4}[kernel]
    assert s.pose_error(found.cam_from_world) < plain / 5
    everything = bundle_adjust(problem, replace(robust_options, optimize_points=True))
    right = everything.residual_px[~wrong]
    assert np.nanmedian(right) < {"huber": 0.1, "cauchy": 0.01}[kernel]


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_points_at_infinity_give_the_rotation_alone(floor):
    s = scene(seed=8, frames=3, points=60)
    s.inverse_depth = np.zeros_like(s.inverse_depth)
    s.observe()
    problem = s.problem(inverse_depth=s.inverse_depth)
    found = bundle_adjust(problem, BundleOptions(optimize_points=False, pose_damping_floor=floor))
    np.testing.assert_allclose(found.cam_from_world[:, 3:], s.cam_from_world[:, 3:], atol=1e-7)
    centers = se3.invert(found.cam_from_world)[:, :3]
    assert np.isfinite(centers).all()
    assert np.abs(found.cam_from_world[:, :3] - s.start[:, :3]).max() < 0.2
    assert found.cost_history[-1] < 1e-4


def test_points_at_infinity_may_become_near_ones():
    s = scene(seed=9, frames=4, points=80)
    start = s.inverse_depth.copy()
    start[:, ::4] = 0
    problem = s.problem(cam_from_world=s.cam_from_world, inverse_depth=start, fixed=np.ones(4))
    found = bundle_adjust(problem, BundleOptions(iterations=30))
    np.testing.assert_allclose(found.inverse_depth, s.inverse_depth, atol=1e-5)


def test_inverse_depths_stay_within_their_limits():
    s = scene(seed=9, frames=3, points=80)
    found = bundle_adjust(s.problem(), BundleOptions(min_inverse_depth=0.3, max_inverse_depth=0.5))
    assert found.inverse_depth.min() == 0.3
    assert found.inverse_depth.max() == 0.5


def test_costs_never_rise_when_steps_are_adaptive():
    s = scene(seed=6, frames=4, points=60, pose_error=[0.3, 0.3, 0.3, 0.2, 0.2, 0.2], depth_error=0.3)
    options = BundleOptions(iterations=60, damping=1e-8, min_depth_ratio=1e-3)
    found = bundle_adjust(s.problem(), options)
    change = np.diff(found.cost_history)
    assert (change <= 0).all()
    assert (change[:-1] == 0).any(), "no step was rejected, so nothing was tested"
    assert found.converged
    assert found.cost_history[-1] < 1e-6
    forced = bundle_adjust(s.problem(), replace(options, adaptive=False))
    assert (np.diff(forced.cost_history) > 0).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), focal=st.booleans(), points=st.booleans(), adaptive=st.booleans())
def test_hopeless_starts_give_finite_results(seed, focal, points, adaptive):
    s = scene(seed, frames=4, points=20, pose_error=1.0, depth_error=3.0)
    options = BundleOptions(
        iterations=30,
        damping=1e-8,
        min_depth_ratio=1e-3,
        optimize_focal=focal,
        optimize_points=points,
        adaptive=adaptive,
    )
    found = bundle_adjust(s.problem(), options)
    for array in (found.cam_from_world, found.inverse_depth, found.intrinsics, found.cost_history):
        assert np.isfinite(array).all()
    assert (found.intrinsics[:2] > 0).all()


def test_variances_are_those_of_the_dense_system():
    s = scene(seed=11, frames=3, points=20)
    fixed = np.array([True, True, False])
    problem = s.problem(
        cam_from_world=s.cam_from_world,
        fixed=fixed,
        prior_inverse_depth=s.inverse_depth,
        prior_weight=np.ones_like(s.inverse_depth),
        inverse_depth=s.inverse_depth,
    )
    options = BundleOptions(
        iterations=0, variances=True, optimize_focal=True, pose_damping_floor=0, point_damping_floor=0
    )
    found = bundle_adjust(problem, options)
    J = jacobian(problem).reshape(-1, 18 + 60 + 1)
    H = J.T @ (weights_of(problem, options).ravel()[:, None] * J)
    H[18:-1, 18:-1] += np.eye(60)
    free = np.r_[12:79]
    expected = np.diag(np.linalg.inv(H[np.ix_(free, free)]))
    np.testing.assert_allclose(found.pose_variance[2], expected[:6], rtol=1e-6)
    assert found.focal_variance == pytest.approx(expected[-1], rel=1e-6)
    assert not found.pose_variance[:2].any()


def test_variances_are_none_with_a_gauge_freedom():
    s = scene(seed=11, frames=3, points=20)
    found = bundle_adjust(
        s.problem(), BundleOptions(variances=True, pose_damping_floor=0, point_damping_floor=0, iterations=20)
    )
    assert found.pose_variance is None


# Observations that are none, threads, refusals.


def test_non_finite_or_unweighted_observations_are_ignored():
    s = scene(seed=12, frames=3, points=40)
    target, weight = s.target_px.copy(), s.weight.copy()
    weight[0, :10] = 0
    weight[1, 5:25, 0] = 0
    clean = bundle_adjust(s.problem(weight=weight))
    target[0, :5] = np.nan
    target[0, 5:10] = 1e30
    weight[0, 3:5] = -1
    found = bundle_adjust(s.problem(weight=weight, target_px=target))
    np.testing.assert_array_equal(found.cam_from_world, clean.cam_from_world)
    np.testing.assert_array_equal(found.inverse_depth, clean.inverse_depth)
    assert np.isnan(found.residual_px[0, :10]).all()
    assert np.isfinite(found.residual_px[1:]).all()
    target[0, 10:12], weight[0, 12:14] = np.inf, np.nan
    assert np.isnan(bundle_adjust(s.problem(weight=weight, target_px=target)).residual_px[0, :14]).all()


def test_points_behind_the_target_are_ignored():
    s = scene(seed=12, frames=2, points=40)
    start = s.cam_from_world.copy()
    start[1] = se3.exp([0, 0, -0.9, 0, 0, 0])  # one step ahead, past the nearest points
    seen = reproject(start, s.inverse_depth, s.pixels, K, s.source, s.target, min_depth_ratio=0.25)
    assert 0 < seen.valid[0].sum() < 40
    problem = s.problem(cam_from_world=start, inverse_depth=s.inverse_depth)
    found = bundle_adjust(problem, BundleOptions(iterations=0))
    np.testing.assert_array_equal(np.isfinite(found.residual_px), seen.valid & (s.weight[..., 0] > 0))


@pytest.mark.parametrize("precision", ["single", "double"])
def test_any_number_of_threads_gives_the_same_bytes(precision):
    s = scene(seed=13, frames=7, points=300)
    options = BundleOptions(iterations=5, precision=precision, optimize_focal=True, robust_kernel="cauchy")
    one = bundle_adjust(s.problem(), options)
    for threads in (2, 3, 16):
        other = bundle_adjust(s.problem(), replace(options, num_threads=threads))
        for name in ("cam_from_world", "inverse_depth", "intrinsics", "cost_history", "residual_px"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_inputs_stay_as_they_are():
    s = scene(seed=13)
    problem = s.problem()
    before = s.start.copy(), s.start_depth.copy()
    bundle_adjust(problem)
    np.testing.assert_array_equal(s.start, before[0])
    np.testing.assert_array_equal(s.start_depth, before[1])


def test_a_problem_without_edges_or_points_is_solved_at_once():
    s = scene(seed=13)
    none = slice(0, 0)
    empty = s.problem(source=s.source[none], target=s.target[none], target_px=s.target_px[none], weight=s.weight[none])
    found = bundle_adjust(empty)
    np.testing.assert_allclose(found.cam_from_world, s.start, atol=1e-15)
    assert found.converged
    no_points = s.problem(
        inverse_depth=np.zeros((4, 0)),
        pixels=np.zeros((0, 2)),
        target_px=np.zeros((12, 0, 2)),
        weight=np.zeros((12, 0)),
    )
    assert bundle_adjust(no_points).converged


WRONG = {
    "cam_from_world": np.zeros((4, 6)),
    "inverse_depth": np.ones(30),
    "pixels": np.zeros((31, 2)),
    "intrinsics": np.ones(3),
    "source": np.zeros(12, np.int32),
    "target": np.full(12, 4),
    "target_px": np.zeros((12, 30)),
    "weight": np.zeros((12, 30, 3)),
    "prior_weight": np.ones((4, 30)),
    "point_damping": np.ones(30),
    "fixed": [True],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_shapes_and_edges_are_refused(name):
    with pytest.raises(ValueError, match=name if name not in ("target", "source") else "edge"):
        bundle_adjust(scene().problem(**{name: WRONG[name]}))


@pytest.mark.parametrize("name", ["cam_from_world", "inverse_depth", "pixels", "intrinsics"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_geometry_that_is_not_finite_is_refused(name, value):
    problem = scene().problem()
    array = np.array(getattr(problem, name))
    array.flat[-1] = value
    with pytest.raises(ValueError, match=f"{name} must be"):
        bundle_adjust(replace(problem, **{name: array}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"robust_kernel": "tukey"},
        {"simd": "mmx"},
        {"precision": "half"},
        {"num_threads": 0},
        {"iterations": -1},
        {"damping": -1.0},
        {"damping_up": 1.0},
        {"min_depth_ratio": 0.0},
        {"min_inverse_depth": 2.0, "max_inverse_depth": 1.0},
        {"focal_prior_weight": 1.0},
        {"keep_scale": True, "optimize_points": False},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        bundle_adjust(scene().problem(), BundleOptions(**wrong))


# Reprojection and distance.


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_reprojection_follows_the_matrices(seed):
    s = scene(seed, shared_pixels=bool(seed % 2))
    found = reproject(s.start, s.start_depth, s.pixels, K, s.source, s.target, num_threads=2)
    points = moved_points(s.problem(), *split(np.zeros(24 + 120 + 1), 4, 30)).real
    valid = points[..., 2] >= 0.25
    np.testing.assert_array_equal(found.valid, valid)
    expected = points[..., :2] / points[..., 2:3] * K[:2] + K[2:]
    np.testing.assert_allclose(found.pixels[valid], expected[valid], rtol=1e-6)
    np.testing.assert_allclose(found.depth[valid], (points[..., 2] / points[..., 3])[valid], rtol=1e-6)
    assert np.isnan(found.pixels[~valid]).all()
    assert np.isnan(found.depth[~valid]).all()


def test_points_at_infinity_have_infinite_depth():
    s = scene()
    found = reproject(s.start, np.zeros_like(s.inverse_depth), s.pixels, K, s.source, s.target)
    assert np.isposinf(found.depth[found.valid]).all()


def test_frame_distance_is_the_induced_flow():
    s = scene(seed=20, frames=3, points=500)
    geometry = (s.inverse_depth, s.pixels, K, s.source, s.target)
    seen = reproject(s.cam_from_world, *geometry)
    flow = np.linalg.norm(seen.pixels - s.pixels, axis=-1)
    assert seen.valid.all()
    np.testing.assert_allclose(frame_distance(s.cam_from_world, *geometry, beta=1.0), flow.mean(axis=1), rtol=1e-5)
    # Turning the target about its center changes the flow, not the part that its position causes.
    turned = s.cam_from_world.copy()
    turned[1:] = se3.compose(se3.exp([0, 0, 0, 0.1, 0.2, 0.05]), turned[1:])
    geometry = (s.inverse_depth, s.pixels, K, [0, 0], [1, 2])
    still = frame_distance(turned, *geometry, beta=0.0, num_threads=2)
    np.testing.assert_allclose(still, frame_distance(s.cam_from_world, *geometry, beta=0.0), rtol=1e-9)
    assert (frame_distance(turned, *geometry) > frame_distance(s.cam_from_world, *geometry) + 1).all()


def test_frames_without_overlap_are_infinitely_far():
    s = scene(seed=20, frames=2, points=50)
    behind = np.stack([se3.IDENTITY, se3.exp([0, 0, 0, 0, np.pi, 0])])
    distance = frame_distance(behind, s.inverse_depth, s.pixels, K, [0, 1, 0], [1, 0, 1])
    assert np.isposinf(distance).all()
