"""The measuring sticks of benchmarks/accuracy: against evo's figures, against known errors, on the real sequences."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.accuracy.depths import compare_depths
from benchmarks.accuracy.masks import compare_masks
from benchmarks.accuracy.sequences import load_sequence, read_tum, sequence_folders
from benchmarks.accuracy.trajectories import (
    absolute_errors,
    align,
    compare_trajectories,
    invert,
    relative_errors,
    rms,
    to_matrix,
)
from benchmarks.measure import DATA, NO_DATA
from tests.support.scene import to_quaternion

TRAJECTORIES = DATA / "trajectories"
needs_data = pytest.mark.skipif(not TRAJECTORIES.exists(), reason=NO_DATA)
seeds = st.integers(0, 2**32 - 1)


def random_poses(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.concatenate([np.cumsum(rng.normal(size=(count, 3)), 0), rng.normal(size=(count, 4))], 1)


def moved_world(poses: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """The same cameras in another world: x' = scale R x + t."""
    (world,) = to_matrix(random_poses(rng, 1))
    matrix = to_matrix(invert(poses))
    centers = scale * matrix[:, :3, 3] @ world[:3, :3].T + world[:3, 3]
    quaternions = np.stack([to_quaternion(world[:3, :3] @ axes) for axes in matrix[:, :3, :3]])
    return invert(np.concatenate([centers, quaternions], 1))


@needs_data
@pytest.mark.parametrize("reference", ["fr2_desk_groundtruth.txt", "freiburg1_xyz-groundtruth.txt"])
def test_errors_are_those_of_evo(reference: str) -> None:
    lines = [line.split("\t") for line in (TRAJECTORIES / "EXPECTED_evo.tsv").read_text().splitlines()[1:]]
    expected = {line[3]: [float(x) for x in line[5:8]] for line in lines if line[0] == reference}
    estimate = next(line[1] for line in lines if line[0] == reference)
    (true_s, true), (found_s, found) = (read_tum(TRAJECTORIES / name) for name in (reference, estimate))
    after = np.searchsorted(true_s, found_s).clip(1, len(true_s) - 1)
    nearest = after - (found_s - true_s[after - 1] <= true_s[after] - found_s)
    close = np.abs(true_s[nearest] - found_s) <= 0.01
    found, true = to_matrix(found[close]), to_matrix(true[nearest[close]])
    similarity = align(found[:, :3, 3], true[:, :3, 3], with_scale=False)
    distance, angle = absolute_errors(found, true, similarity)
    step, turn = relative_errors(found, true, similarity.scale)
    measured = {"ATE_trans_m": distance, "APE_rot_deg": angle, "RPE_trans_m_delta1f": step, "RPE_rot_deg_delta1f": turn}
    assert set(measured) == set(expected)
    for name, values in measured.items():
        assert [rms(values), values.mean(), np.median(values)] == pytest.approx(expected[name], abs=2e-6), name


@settings(deadline=None)
@given(seed=seeds, scale=st.floats(0.1, 10))
def test_another_world_is_no_error(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    truth = random_poses(rng, 12)
    error = compare_trajectories(moved_world(truth, rng, scale), np.ones(12, bool), truth)
    assert error.ate_percent < 1e-6
    assert error.rpe_translation_percent < 1e-6
    assert error.rpe_rotation_deg < 1e-5
    assert error.registered_share == 1


@settings(deadline=None)
@given(seed=seeds)
def test_alignment_cannot_be_improved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, target = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    best = align(points, target)
    cost = ((best.move(points) - target) ** 2).sum()
    assert np.linalg.det(best.rotation) == pytest.approx(1)
    for _ in range(10):
        (nudge,) = to_matrix(np.concatenate([rng.normal(0, 0.01, 6), [1.0]])[None])
        moved = best.scale * rng.uniform(0.98, 1.02) * points @ (nudge[:3, :3] @ best.rotation).T
        assert ((moved + best.translation + nudge[:3, 3] - target) ** 2).sum() >= cost - 1e-12


def test_a_known_error_is_measured() -> None:
    truth = np.zeros((5, 7))
    truth[:, 6] = 1
    truth[:, 0] = -np.arange(5)  # centers at x = 0 to 4
    found = truth.copy()
    half = np.deg2rad(10) / 2
    found[2:, 3:] = [0, 0, np.sin(half), np.cos(half)]
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    found[2:, :3] = truth[2:, :3] @ turn.T
    error = compare_trajectories(found, np.ones(5, bool), truth)
    assert error.ate_percent == pytest.approx(0, abs=1e-9)
    assert error.rpe_rotation_deg == pytest.approx(np.sqrt(10**2 / 4))


def test_absent_poses() -> None:
    truth = random_poses(np.random.default_rng(1), 6)
    nothing = compare_trajectories(np.full((6, 7), np.nan), np.zeros(6, bool), truth)
    assert nothing.ate_percent == np.inf and nothing.registered_share == 0
    some = np.array([True, True, False, True, True, True])
    part = truth.copy()
    part[2] = np.nan
    error = compare_trajectories(part, some, truth)
    assert error.ate_percent < 1e-6 and error.registered_share == pytest.approx(5 / 6)
    still = compare_trajectories(truth, np.ones(6, bool), np.tile(truth[:1], (6, 1)))
    assert np.isnan(still.ate_percent)


def test_depth_errors() -> None:
    truth = np.array([[1.0, 2.0], [4.0, np.nan]])
    assert compare_depths(3 * truth, truth).abs_rel == pytest.approx(0)
    assert compare_depths(3 * truth, truth, "scale").scale == pytest.approx(1 / 3)
    plain = compare_depths(np.array([[1.2, 2.6], [np.nan, 5.0]]), truth, "none")
    assert plain.abs_rel == pytest.approx(0.25)
    assert plain.delta1 == pytest.approx(0.5)
    assert plain.valid_share == pytest.approx(2 / 3)
    nothing = compare_depths(np.zeros((2, 2)), truth)
    assert nothing.valid_share == 0 and np.isnan(nothing.abs_rel)
    with pytest.raises(ValueError, match="shape"):
        compare_depths(truth[:1], truth)


@settings(deadline=None)
@given(seed=seeds)
def test_the_scale_of_least_relative_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.uniform(1, 5, 50), rng.uniform(1, 5, 50)
    scale = compare_depths(found, truth, "scale").scale
    costs = [((s * found / truth - 1) ** 2).sum() for s in (scale, 0.99 * scale, 1.01 * scale)]
    assert costs[0] == min(costs)


def test_mask_agreement() -> None:
    truth = np.zeros((2, 4, 4), bool)
    truth[0, :2] = True
    found = np.zeros_like(truth)
    found[0, 1:3] = True
    agreement = compare_masks(found, truth)
    assert agreement.iou == pytest.approx(1 / 3)
    assert agreement.precision == agreement.recall == 0.5
    assert agreement.frame_iou == pytest.approx((1 / 3 + 1) / 2)
    nothing = compare_masks(np.zeros_like(truth), np.zeros_like(truth))
    assert nothing.iou == 1 and nothing.precision is None and nothing.recall is None
    with pytest.raises(ValueError, match="masks"):
        compare_masks(found[:1], truth)


@needs_data
@pytest.mark.parametrize("folder", sequence_folders(), ids=lambda folder: folder.name)
def test_real_sequences_agree_with_their_depth(folder: Path) -> None:
    """Depth of one frame, reprojected into another by the true poses, matches its depth."""
    sequence = load_sequence(folder)
    width, height = sequence.size
    assert max(sequence.size) <= 640 and len(sequence.frames) >= 10
    assert all(frame.shape == (height, width, 3) for frame in sequence.frames)
    assert sequence.cam_from_world.shape == (len(sequence.frames), 7) and len(sequence.times_s) == len(sequence.frames)
    assert abs(sequence.intrinsics.fx / sequence.intrinsics.fy - 1) < 0.005
    known = sorted(sequence.depth_m)
    matrices = to_matrix(sequence.cam_from_world)
    errors = []
    for i, j in pairwise(known):
        k = sequence.intrinsics
        v, u = np.mgrid[0:height:7, 0:width:7]
        z = sequence.depth_m[i][v, u].astype(np.float64)
        points = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z, np.ones_like(z)], -1)
        x, y, z, _ = np.moveaxis(points @ (matrices[j] @ np.linalg.inv(matrices[i])).T, -1, 0)
        with np.errstate(invalid="ignore"):
            u, v = np.rint(k.fx * x / z + k.cx), np.rint(k.fy * y / z + k.cy)
            inside = (z > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
        seen = sequence.depth_m[j][v[inside].astype(int), u[inside].astype(int)]
        errors.append(np.abs(z[inside] - seen) / seen)
    if known:
        assert np.nanmedian(np.concatenate(errors)) < 0.03
