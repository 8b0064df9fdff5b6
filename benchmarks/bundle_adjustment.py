"""CPU time of native bundle adjustment against NumPy and against the memory bound.

First table: one Gauss-Newton step (linearize, eliminate the points, solve, substitute back) on one thread against the
same step in plain NumPy on arrays of all observations, in double precision: "dense" solves one system of all
variables by LAPACK, "Schur" eliminates the points first. Steps agree to the rounding of single precision or better,
which is checked. Ratios are medians over the repetitions, each to the native step right after it.

Second table: the accumulation of the normal equations (poses only, all points observed) against the bound by memory
bandwidth: the bytes that must be read once (target and weight of each observation, 16 bytes, and pixel and inverse
depth of each point, 16 bytes) divided by the rate at which NumPy copies an array too large for any cache, bytes read
plus bytes written by second of CPU. "accumulation" is what the observations of as many points again add to a step;
"step" also makes the systems of edges and solves for the poses. A step is what each further iteration of
a call adds; the first one also checks the input. Arithmetic sets a bound too: a vector of observations takes 61
multiplications, plain or fused with an addition (20 in native/csrc/bundle_projection_body.hpp, 41 in
bundle_sums_body.hpp). With vectors of 512 bits, two a cycle and 4.1 GHz, that is 0.46 ns an observation in single and
0.93 ns in double precision. "with Schur" adds the elimination of points, which needs arithmetic that grows with the
edges of a frame and is not bound by memory.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from benchmarks.measure import cpu_of_call, markdown_table
from core.arrays import Float64Array
from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust, reproject

K_PX = np.array([500.0, 500.0, 320.0, 240.0])
PRECISIONS: tuple[Literal["double", "single"], ...] = ("double", "single")
FURTHER_STEPS = 5
STEP = BundleOptions(iterations=1, adaptive=False, damping=1e-3, residuals=False, pose_damping_floor=1e-3)


def make_problem(frames: int, points: int, neighbors: int) -> BundleProblem:
    """Returns a problem of a moving camera with edges between neighboring frames."""
    rng = np.random.default_rng(0)
    motion = rng.normal(size=(frames, 6)) * [0.03, 0.03, 0.03, 0.01, 0.01, 0.01]
    motion[0] = 0
    poses = se3.exp(np.cumsum(motion, axis=0))
    inverse_depth = rng.uniform(0.2, 1.0, (frames, points))
    pixels = rng.uniform([0, 0], [640, 480], (points, 2)).astype(np.float32)
    reach = range(-neighbors, neighbors + 1)
    edges = np.array([(i, i + k) for i in range(frames) for k in reach if k and 0 <= i + k < frames])
    source, target = edges.T
    projected = reproject(poses, inverse_depth, pixels, K_PX, source, target)
    error = rng.normal(size=(frames, 6)) * 0.005
    error[0] = 0
    return BundleProblem(
        cam_from_world=se3.compose(se3.exp(error), poses),
        inverse_depth=inverse_depth * rng.uniform(0.9, 1.1, inverse_depth.shape),
        pixels=pixels,
        intrinsics=K_PX,
        source=source.astype(np.int32),
        target=target.astype(np.int32),
        target_px=np.array(projected.pixels),  # like the copied array in memory with large pages, which NumPy asks for
        weight=rng.uniform(0.5, 1.5, projected.pixels.shape).astype(np.float32),
    )


def linearize(problem: BundleProblem) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]:
    """Derivatives by target pose, source pose and inverse depth, residuals and weights of all observations."""
    poses, depths = np.asarray(problem.cam_from_world), np.asarray(problem.inverse_depth)
    source, target = np.asarray(problem.source), np.asarray(problem.target)
    pixels = np.asarray(problem.pixels, np.float64)
    rays = (pixels - K_PX[2:]) / K_PX[:2]
    relative = se3.compose(poses[target], se3.invert(poses[source]))
    d = depths[source]
    points = np.concatenate([np.broadcast_to(rays, (*d.shape, 2)), np.ones((*d.shape, 1)), d[..., None]], axis=2)
    moved = np.einsum("eij,epj->epi", se3.to_matrix(relative), points)
    z = moved[..., 2]
    x, y, h = moved[..., 0] / z, moved[..., 1] / z, d / z
    zero = np.zeros_like(x)
    rows_u = np.stack([h, zero, -x * h, -x * y, 1 + x * x, -y], axis=2)
    rows_v = np.stack([zero, h, -y * h, -1 - y * y, x * y, x], axis=2)
    by_target = np.stack([rows_u, rows_v], axis=2) * K_PX[:2, None]
    by_source = -np.einsum("epci,eij->epcj", by_target, se3.adjoint(relative))
    t = relative[:, None, :3]
    by_depth = np.stack([t[..., 0] - t[..., 2] * x, t[..., 1] - t[..., 2] * y], axis=2) / z[..., None] * K_PX[:2]
    in_front = z >= STEP.min_depth_ratio
    residual = np.asarray(problem.target_px, np.float64) - np.stack([x, y], axis=2) * K_PX[:2] - K_PX[2:]
    weight = np.asarray(problem.weight, np.float64) * (in_front & np.isfinite(residual).all(axis=2))[..., None]
    return by_target, by_source, by_depth, np.nan_to_num(residual), weight


def numpy_step(problem: BundleProblem, dense: bool) -> tuple[Float64Array, Float64Array]:
    """Returns (frames, 6) tangents and (frames, points) changes of a damped step; first pose fixed."""
    by_target, by_source, by_depth, residual, weight = linearize(problem)
    source, target = np.asarray(problem.source), np.asarray(problem.target)
    n, p = np.shape(problem.inverse_depth)
    H, g = np.zeros((n, 6, n, 6)), np.zeros((n, 6))
    E, C, b = np.zeros((n, 6, n, p)), np.zeros((n, p)), np.zeros((n, p))
    sides = ((target, by_target), (source, by_source))
    for frames, by in sides:
        np.add.at(g, frames, np.einsum("epci,epc,epc->ei", by, weight, residual))
        for others, by_other in sides:
            blocks = np.einsum("epci,epc,epcj->eij", by, weight, by_other)
            for e, (i, j) in enumerate(zip(frames, others, strict=True)):
                H[i, :, j] += blocks[e]
        blocks = np.einsum("epci,epc,epc->eip", by, weight, by_depth)
        for e, (i, j) in enumerate(zip(frames, source, strict=True)):
            E[i, :, j] += blocks[e]
    np.add.at(C, source, (by_depth**2 * weight).sum(axis=2))
    np.add.at(b, source, (by_depth * weight * residual).sum(axis=2))
    A, rhs = H.reshape(6 * n, 6 * n)[6:, 6:], g.ravel()[6:]
    A = A + np.diag(STEP.damping * np.diag(A) + STEP.pose_damping_floor)
    rows, curvature = E.reshape(6 * n, n * p)[6:], C.ravel() * (1 + STEP.damping) + STEP.point_damping_floor
    if dense:
        system = np.block([[A, rows], [rows.T, np.diag(curvature)]])
        step = np.linalg.solve(system, np.concatenate([rhs, b.ravel()]))
        poses, depths = step[: len(rhs)], step[len(rhs) :]
    else:
        scaled = rows / curvature
        poses = np.linalg.solve(A - scaled @ rows.T, rhs - scaled @ b.ravel())
        depths = (b.ravel() - rows.T @ poses) / curvature
    return np.concatenate([np.zeros(6), poses]).reshape(n, 6), depths.reshape(n, p)


def check_agreement(problem: BundleProblem, options: BundleOptions, expected: Float64Array) -> None:
    """Raises RuntimeError if the native step differs."""
    found = bundle_adjust(problem, options)
    step = se3.log(se3.compose(found.cam_from_world, se3.invert(problem.cam_from_world)))
    error = np.abs(step - expected).max() / np.abs(expected).max()
    if error > (1e-7 if options.precision == "double" else 1e-2):
        raise RuntimeError(f"the native step differs by {error:.1e} of its size")


def median_costs(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Returns CPU seconds of each call in each repetition, taken in turns."""
    for call in calls.values():
        call()
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            costs[name].append(cpu_of_call(call).cpu_s)
    return costs


def compare_with_numpy(sizes: list[tuple[int, int, int, bool]], repeats: int) -> list[list[str | float]]:
    """Rows of the first table."""
    rows: list[list[str | float]] = []
    for frames, points, neighbors, dense in sizes:
        problem = make_problem(frames, points, neighbors)
        expected = numpy_step(problem, dense)[0]
        calls: dict[str, Callable[[], object]] = {"NumPy": partial(numpy_step, problem, dense)}
        for precision in PRECISIONS:
            options = replace(STEP, precision=precision)
            check_agreement(problem, options, expected)
            calls[precision] = partial(bundle_adjust, problem, options)
        costs = median_costs(calls, repeats)
        size = f"{frames} frames, {points} points, {np.size(problem.source)} edges"
        for name in PRECISIONS:
            ratios = [a / b for a, b in zip(costs["NumPy"], costs[name], strict=True)]
            numpy_ms, native_ms = (1e3 * statistics.median(costs[key]) for key in ("NumPy", name))
            spread = f"{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
            rows.append([size, "dense" if dense else "Schur", name, numpy_ms, native_ms, spread])
    return rows


def compare_with_memory(sizes: list[tuple[int, int, int]], repeats: int) -> list[list[str | float]]:
    """Rows of the second table."""
    large = np.ones(32 << 20)
    copy = np.empty_like(large)
    rows: list[list[str | float]] = []
    for frames, points, neighbors in sizes:
        problem, twice = (make_problem(frames, count, neighbors) for count in (points, 2 * points))
        observations = np.size(problem.source) * points
        calls: dict[str, Callable[[], object]] = {"copy": partial(np.copyto, copy, large)}
        for precision in PRECISIONS:
            for name, given, with_points in (
                ("step", problem, False),
                ("step of twice the points", twice, False),
                ("step with Schur", problem, True),
            ):
                options = replace(STEP, optimize_points=with_points, precision=precision, tolerance=0.0)
                calls[f"{name}, {precision}"] = partial(bundle_adjust, given, options)
                further = replace(options, iterations=1 + FURTHER_STEPS)
                calls[f"{name}, {precision}, and further ones"] = partial(bundle_adjust, given, further)
        costs = median_costs(calls, repeats)
        read = 16 * observations + 16 * frames * points
        size = f"{frames} frames, {points} points, {np.size(problem.source)} edges"
        bounds = [read / (2 * large.nbytes / seconds) for seconds in costs["copy"]]
        steps: dict[str, list[float]] = {}
        for name in list(calls)[1::2]:
            pairs = zip(costs[name], costs[f"{name}, and further ones"], strict=True)
            steps[name] = [(many - one) / FURTHER_STEPS for one, many in pairs]
        for precision in PRECISIONS:
            pairs = zip(steps.pop(f"step of twice the points, {precision}"), steps[f"step, {precision}"], strict=True)
            steps[f"accumulation, {precision}"] = [more - less for more, less in pairs]
        for name in sorted(steps):
            ratios = [a / b for a, b in zip(steps[name], bounds, strict=True)]
            rows.append(
                [
                    size,
                    name,
                    1e9 * statistics.median(steps[name]) / observations,
                    1e9 * statistics.median(bounds) / observations,
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                ]
            )
    return rows


def main() -> None:
    """Prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each measurement (default: 5)")
    arguments = parser.parse_args()
    header = ["problem", "NumPy solves", "native precision", "NumPy ms", "native ms", "ratio: median (range)"]
    rows = compare_with_numpy([(6, 300, 2, True), (6, 300, 2, False), (24, 768, 5, False)], arguments.repeats)
    print(markdown_table(header, rows), end="\n\n")
    header = ["problem", "native", "ns an observation", "bound, ns", "ratio to bound: median (range)"]
    print(markdown_table(header, compare_with_memory([(60, 3072, 8), (30, 14400, 8)], arguments.repeats)))


if __name__ == "__main__":
    main()
