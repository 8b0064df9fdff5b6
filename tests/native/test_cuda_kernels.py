"""CUDA kernels against the same formulas in float64 on the CPU, on fresh random inputs each run."""

import secrets

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from models.tracking import correlation, dense_ba  # noqa: E402
from models.tracking.geometry import Cameras  # noqa: E402
from native import se3  # noqa: E402
from native.cuda import kernels  # noqa: E402
from native.cuda.build import LIBRARY  # noqa: E402

pytestmark = [
    pytest.mark.models,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.skipif(not LIBRARY.exists(), reason="kernels are not built: `make cuda`"),
]


@pytest.fixture
def seed():
    chosen = secrets.randbelow(1 << 31)
    print(f"seed {chosen}")
    return chosen


def relative(found, expected):
    return float(torch.linalg.norm(found.double().cpu() - expected) / torch.linalg.norm(expected))


@pytest.mark.parametrize(("height", "width"), [(41, 73), (9, 14)])
def test_look_up(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 128, height, width, generator=generator).half()
    pyramid = correlation.FeaturePyramid.from_features(features)
    coords = torch.rand(4, height, width, 2, generator=generator) * torch.tensor([width, height]) * 1.4 - 3
    coords[0, 0, 0] = torch.tensor([1e9, -1e9])
    source, target = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 2, 0, 2])
    exact = correlation.FeaturePyramid(pyramid.rows.double(), height, width)
    expected = correlation.correlate(exact, source, target, coords.double())
    on_device = correlation.FeaturePyramid(pyramid.rows.cuda(), height, width)
    found = correlation.correlate(on_device, source.cuda(), target.cuda(), coords.cuda())
    assert relative(found, expected) < 1e-3


def make_cameras(seed, frames, height, width, dtype, device):
    rng = np.random.default_rng(seed)
    poses = se3.exp(rng.normal(0, 0.1, (frames, 6)))
    matrices = torch.from_numpy(se3.to_matrix(poses)).to(device)
    depth = torch.from_numpy(rng.uniform(0.1, 2, (frames, height, width))).float()
    return Cameras(
        rotation=matrices[:, :3, :3].contiguous(),
        translation=matrices[:, :3, 3].contiguous(),
        inverse_depth=depth.to(device, dtype),
        prior=torch.where(depth > 1, depth, 0).to(device, dtype),
        intrinsics=torch.tensor([[width * 0.9, width * 0.95, width / 2, height / 2]], dtype=torch.float64).to(device),
        clip=torch.zeros(frames, dtype=torch.int64, device=device),
    )


def observe(seed, dtype, device):
    """Cameras, plan, observations and weights that are the same on every device."""
    frames, height, width = 6, 41, 73
    pairs = np.array([(i, j) for i in range(frames) for j in range(frames) if i != j])
    cameras = make_cameras(seed, frames, height, width, dtype, device)
    clip_of, free = np.zeros(frames, np.int64), [np.arange(1, frames)]
    plan = dense_ba.plan_bundle(*pairs.T, clip_of, free, torch.device(device))
    rng = np.random.default_rng(seed + 1)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    seen = torch.from_numpy((grid + rng.normal(0, 4, (len(pairs), *grid.shape))).astype(np.float32))
    weight = torch.from_numpy(rng.random(seen.shape).astype(np.float32))
    return cameras, plan, seen.to(device, dtype), weight.to(device, dtype)


def test_linearise(seed):
    expected = dense_ba.linearise(*observe(seed, torch.float64, "cpu"))
    found = dense_ba.linearise(*observe(seed, torch.float32, "cuda"))
    for name in ("curvature", "gradient", "mixed", "point_curvature", "point_gradient", "motion"):
        assert relative(getattr(found, name), getattr(expected, name)) < 1e-5, name


@pytest.mark.parametrize("with_focal", [False, True])
def test_adjust(seed, with_focal):
    after = []
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, "cuda")):
        cameras, plan, seen, weight = observe(seed, dtype, device)
        before = (cameras.translation.clone(), cameras.inverse_depth.clone())
        eta, alpha = torch.full_like(cameras.inverse_depth, 1e-3), torch.full((1,), 0.05, device=device)
        focal = torch.ones(1, dtype=torch.bool, device=device) if with_focal else None
        dense_ba.adjust(cameras, plan, seen, weight, eta, alpha, focal, dense_ba.BundleOptions(iterations=1))
        after.append([cameras.translation - before[0], cameras.inverse_depth - before[1], cameras.intrinsics])
    for expected, found in zip(*after, strict=True):
        assert relative(found, expected.double()) < 1e-4


def test_the_same_input_gives_the_same_bits(seed):
    first, second = (dense_ba.linearise(*observe(seed, torch.float32, "cuda")) for _ in range(2))
    assert torch.equal(first.curvature, second.curvature)
    assert torch.equal(first.mixed, second.mixed)
    assert kernels.usable_for(first.mixed)
