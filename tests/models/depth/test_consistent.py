"""Consistent video depth in a room of known depth, and the losses' gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from benchmarks.gpu.exact_flow import exact_clip_flow
from models.depth import consistency_losses, reference
from models.depth.consistent import make_consistent
from models.depth.settings import ConsistencySettings
from native import se3
from tests.support.camera_paths import steady

pytestmark = pytest.mark.models
SIZE = (80, 48)
FOCAL = 40 / np.tan(np.radians(30))
INTRINSICS = np.array([FOCAL, FOCAL, 40.0, 24.0])


@pytest.fixture(scope="module")
def room():
    """Poses, inverse depth at half size in units of the median depth, and flow."""
    _, poses = steady((0.3, 0.0, 0.4), (0.0, 6.0, 0.0), seconds=1.4, start=(0.3, -0.1, -3.4))
    depth, flow = exact_clip_flow(poses, SIZE, "cpu")
    unit = np.median(depth)
    poses = poses.copy()
    poses[:, :3] /= unit
    return poses, (unit / depth).astype(np.float32), flow


def double(maps):
    return np.repeat(np.repeat(maps, 2, 1), 2, 2)


def error(found, true):
    """Median relative error of maps, with no scale taken out."""
    return np.median(np.abs(found[:, ::2, ::2] / true - 1))


def test_scales_of_frames_become_consistent(room):
    poses, true, flow = room
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.15, (len(true), 1, 1)))
    given = double((true * scale + rng.normal(0, 0.05, scale.shape)).astype(np.float32))
    static = np.full((len(true), SIZE[1] // 8, SIZE[0] // 8), 1.0, np.float32)
    found = make_consistent(given, static, poses, INTRINSICS, flow, ConsistencySettings(refine_steps=60))
    assert found.inverse_depth.shape == given.shape
    assert error(given, true) > 0.05
    assert error(found.inverse_depth, true) < 0.02
    assert found.last_loss < found.first_loss
    again = make_consistent(given, static, poses, INTRINSICS, flow, ConsistencySettings(refine_steps=60))
    assert np.array_equal(again.inverse_depth, found.inverse_depth)


def test_reference_takes_one_step_per_stage(room):
    poses, true, flow = room
    static = np.full((len(true), SIZE[1] // 8, SIZE[0] // 8), 1.0, np.float32)
    found = make_consistent(double(true), static, poses, INTRINSICS, flow, reference.single_step(ConsistencySettings()))
    change = np.abs(found.inverse_depth - double(true))[:, 4:-4, 4:-4]
    assert 0 < np.median(change) < 0.03 * true.max()


def test_gradients_equal_finite_differences(room):
    poses, true, flow = room
    matrices = torch.from_numpy(se3.to_matrix(poses))
    camera = torch.from_numpy(INTRINSICS / 2)
    pairs = consistency_losses.PairGeometry.from_cameras(flow, matrices[:, :3, :3], matrices[:, :3, 3], camera)
    frames = consistency_losses.FrameLosses(torch.from_numpy(true).double(), camera)
    generator = torch.Generator().manual_seed(2)
    depth = torch.from_numpy(true).double() * (1 + 0.1 * torch.rand(true.shape, generator=generator))
    confidence = (0.2 + 0.3 * torch.rand(true.shape, generator=generator)).double()
    direction = torch.randn(true.shape, generator=generator, dtype=torch.float64)

    def loss(depth, confidence):
        return consistency_losses.pair_loss(depth, confidence, pairs) + frames(depth, 5.0, 0.0)

    depth.requires_grad_()
    confidence.requires_grad_()
    by_depth, by_confidence = torch.autograd.grad(loss(depth, confidence), (depth, confidence))
    step = 1e-7
    with torch.no_grad():
        along_depth = (loss(depth + step * direction, confidence) - loss(depth - step * direction, confidence)) / step
        along_confidence = (
            loss(depth, confidence + step * direction) - loss(depth, confidence - step * direction)
        ) / step
    assert float((by_depth * direction).sum()) == pytest.approx(float(along_depth) / 2, rel=2e-2)
    assert float((by_confidence * direction).sum()) == pytest.approx(float(along_confidence) / 2, rel=1e-4)


def test_consistency_measures_errors_of_depth_and_poses(room):
    poses, true, flow = room
    matrices, camera = torch.from_numpy(se3.to_matrix(poses)), torch.from_numpy(INTRINSICS / 2)
    inverse_depth = torch.from_numpy(true).double()
    static = torch.ones_like(inverse_depth, dtype=torch.bool)

    def measured(depth, shift):
        pairs = consistency_losses.PairGeometry.from_cameras(flow, matrices[:, :3, :3], shift, camera)
        return consistency_losses.measure_consistency(depth, static, pairs)

    exact, residual_px = measured(inverse_depth, matrices[:, :3, 3])
    assert exact.nanmedian() < 0.01 and residual_px[:-1].max() < 0.1
    noise = torch.randn(inverse_depth.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found, _ = measured(inverse_depth * torch.exp(0.1 * noise), matrices[:, :3, 3])
    # Two errors of 10 %, one of which is smoothed by bilinear interpolation.
    assert 0.08 < found.nanmedian() < 0.15
    _, contradicted = measured(inverse_depth, 3 * matrices[:, :3, 3])
    assert contradicted[:-1].median() > 10 * residual_px[:-1].median()
