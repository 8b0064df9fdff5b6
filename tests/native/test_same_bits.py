"""Bundle adjustment gives the same bits with AVX2 and AVX-512, and from every compiler."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest

from native import se3
from native.bundle_adjustment import BundleOptions, BundleProblem, bundle_adjust, reproject

FRAMES, POINTS = 5, 1101
K = np.array([500.0, 520.0, 322.0, 238.0])
CASES = {
    "all": {"optimize_focal": True, "variances": True},
    "poses": {"optimize_points": False, "variances": True},
    "points": {"optimize_poses": False},
    "huber": {"robust_kernel": "huber", "robust_scale_px": 2.0},
    "cauchy": {"robust_kernel": "cauchy", "robust_scale_px": 1.0, "optimize_focal": True},
}


def numbers(seed, shape, low, high):
    """Even numbers from low to high: plain arithmetic, the same from all libraries."""
    x = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 32)
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        x = (x ^ (x >> np.uint64(29))) * np.uint64(factor)
    return (low + (high - low) * ((x >> np.uint64(40)) / float(1 << 24))).reshape(shape)


def problem(*, is_sparse=False, channels=2):
    """Points in all frames or a few, of several tiles and a partial one."""
    poses = np.concatenate([numbers(1, (FRAMES, 3), -0.2, 0.2), numbers(2, (FRAMES, 3), -0.03, 0.03)], axis=1)
    poses = np.concatenate([poses, np.ones((FRAMES, 1))], axis=1)
    inverse_depth = numbers(3, (FRAMES, POINTS), 0.15, 1.0)
    pixels = numbers(4, (POINTS, 2), 0, 480).astype(np.float32)
    source, target = np.array([(i, j) for i in range(FRAMES) for j in range(FRAMES) if i != j], np.int32).T
    seen = reproject(se3.normalize(poses), inverse_depth, pixels, K, source, target)
    weight = numbers(5, (len(source), POINTS, channels), 0.5, 2).astype(np.float32)
    if is_sparse:
        weight[numbers(6, weight.shape[:2], 0, 1) < 0.8] = 0
    off = numbers(7, poses[:, :3].shape, -0.02, 0.02)
    off[0] = 0
    return BundleProblem(
        cam_from_world=se3.normalize(poses + np.pad(off, ((0, 0), (0, 4)))),
        inverse_depth=inverse_depth * numbers(8, inverse_depth.shape, 0.9, 1.1),
        pixels=pixels,
        intrinsics=K,
        source=source,
        target=target,
        target_px=seen.pixels + numbers(9, seen.pixels.shape, -1, 1).astype(np.float32),
        weight=weight if channels == 2 else weight[..., 0],
    )


def adjusted(problem, options):
    """Bytes of the bundle adjustment's results by name.

    Skips where the processor lacks the instruction set.
    """
    try:
        found = bundle_adjust(problem, options)
    except ValueError as error:
        if "no code path" in str(error):
            pytest.skip(f"this processor has no {options.simd}")
        raise
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: np.asarray(value).tobytes() for name, value in values.items() if value is not None}


@pytest.mark.parametrize("simd", ["avx512", "auto"])
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("case", CASES)
def test_instruction_sets_agree(case, precision, simd):
    options = BundleOptions(iterations=3, precision=precision, simd="avx2", **CASES[case])
    for given in (problem(), problem(is_sparse=True, channels=1)):
        expected = adjusted(given, options)
        found = adjusted(given, replace(options, simd=simd))
        assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("precision", ["single", "double"])
def test_compilers_agree(precision):
    """These bits are equal in all builds: only square roots use the C library."""
    hashed = hashlib.sha256()
    for options in (
        BundleOptions(iterations=0, precision=precision, optimize_focal=True, variances=True, simd="avx2"),
        BundleOptions(iterations=2, precision=precision, optimize_poses=False, simd="avx2"),
        BundleOptions(iterations=2, precision=precision, optimize_poses=False, robust_kernel="cauchy", simd="avx2"),
    ):
        for value in adjusted(problem(), options).values():
            hashed.update(value)
    assert hashed.hexdigest()[:16] == BITS[precision]


BITS = {"single": "e0757543e88d264e", "double": "9fe32035f66ab091"}
