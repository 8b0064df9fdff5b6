"""Dense bundle adjustment on torch against the one in double precision on the CPU."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from models.slam import (
    bundle_plan,
    dense_ba,
    edge_terms,
    geometry,
    reference,
)
from models.slam.settings import TrackerParity
from native import bundle_adjustment, se3
from tests.support.camera_paths import wander

pytestmark = pytest.mark.models
HEIGHT, WIDTH = 8, 13
GRID = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 2).astype(np.float32)
INTRINSICS = np.array([[12.0, 12.6, 6.8, 4.1], [14.0, 13.5, 6.2, 3.9]])
SIZES = (4, 6)


def make_problems(noise, focal_factor):
    """Two clips near their solution: poses, inverse depths, edges, observations and weights of each."""
    rng = np.random.default_rng(4)
    problems = []
    for clip, count in enumerate(SIZES):
        poses = se3.normalize(wander(count, clip + 1, speed=0.15))
        depth = rng.uniform(0.2, 1.0, (count, len(GRID)))
        source, target = np.array([(i, j) for i in range(count) for j in range(count) if 0 < abs(i - j) <= 2]).T
        seen = bundle_adjustment.reproject(poses, depth, GRID, INTRINSICS[clip], source, target)
        moved = poses.copy()
        moved[1:] = se3.compose(se3.exp(rng.normal(0, noise, (count - 1, 6))), poses[1:])
        camera = INTRINSICS[clip] * [focal_factor, focal_factor, 1, 1]
        weight = rng.uniform(0.3, 1.0, (*seen.pixels.shape[:2], 2)) * seen.valid[..., None]
        problems.append(
            SimpleNamespace(
                poses=moved,
                depth=depth * np.exp(rng.normal(0, 3 * noise, depth.shape)),
                camera=camera,
                source=source,
                target=target,
                seen=(np.nan_to_num(seen.pixels) + rng.normal(0, 0.05, seen.pixels.shape)).astype(np.float32),
                weight=weight.astype(np.float32),
                prior=np.where(rng.random(depth.shape) < 0.5, depth, 0),
            )
        )
    return problems


def on_torch(problems):
    """The same as cameras, plan, observations and weights, in double precision."""

    def joined(name, *shape):
        values = np.concatenate([getattr(p, name) for p in problems])
        return torch.tensor(values, dtype=torch.float64).reshape(-1, HEIGHT, WIDTH, *shape)

    clip_of = np.repeat(np.arange(len(problems)), SIZES)
    matrices = torch.from_numpy(se3.to_matrix(np.concatenate([p.poses for p in problems])))
    cameras = geometry.Cameras(
        rotation=matrices[:, :3, :3].contiguous(),
        translation=matrices[:, :3, 3].contiguous(),
        inverse_depth=joined("depth"),
        prior=joined("prior"),
        intrinsics=torch.tensor(np.array([p.camera for p in problems])),
        clip=torch.from_numpy(clip_of),
    )
    first = [0, SIZES[0]]
    source, target = (
        np.concatenate([getattr(p, end) + start for p, start in zip(problems, first, strict=True)])
        for end in ("source", "target")
    )
    free = [np.flatnonzero(clip_of == clip)[1:] for clip in range(len(problems))]
    plan = bundle_plan.plan_bundle(source, target, clip_of, free, torch.device("cpu"))
    return cameras, plan, joined("seen", 2), joined("weight", 2)


def solved(problems, alpha, with_focal, iterations=25):
    cameras, plan, seen, weight = on_torch(problems)
    focal = torch.tensor([with_focal] * 2) if with_focal else None
    options = dense_ba.DenseBAOptions(iterations=iterations, damping=1e-9, damping_floor=1e-9)
    eta = torch.full_like(cameras.inverse_depth, 1e-9)
    dense_ba.adjust(cameras, plan, seen, weight, eta, torch.full((2,), alpha), focal, options)
    matrices = np.tile(np.eye(4), (sum(SIZES), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = cameras.rotation.numpy(), cameras.translation.numpy()
    poses = np.split(se3.from_matrix(matrices), [SIZES[0]])
    depths = np.split(cameras.inverse_depth.flatten(1).numpy(), [SIZES[0]])
    return list(zip(poses, depths, cameras.intrinsics.numpy(), strict=True))


def expected_of(problem, alpha, with_focal):
    return bundle_adjustment.bundle_adjust(
        bundle_adjustment.BundleProblem(
            cam_from_world=problem.poses,
            inverse_depth=problem.depth,
            pixels=GRID,
            intrinsics=problem.camera,
            source=problem.source,
            target=problem.target,
            target_px=problem.seen,
            weight=problem.weight * edge_terms.RESIDUAL_WEIGHT,
            prior_inverse_depth=problem.prior,
            prior_weight=alpha * (problem.prior > 0),
        ),
        bundle_adjustment.BundleOptions(
            iterations=60,
            optimize_focal=with_focal,
            damping=1e-9,
            pose_damping_floor=1e-12,
            point_damping_floor=1e-9,
            tolerance=1e-15,
            min_inverse_depth=dense_ba.MIN_INVERSE_DEPTH,
            max_inverse_depth=dense_ba.MAX_INVERSE_DEPTH,
        ),
    )


@pytest.mark.parametrize("with_focal", [False, True])
def test_both_find_the_same_minimum(with_focal):
    problems = make_problems(0.01, 1.03 if with_focal else 1.0)
    for problem, (poses, depth, camera) in zip(problems, solved(problems, 0.01, with_focal), strict=True):
        expected = expected_of(problem, 0.01, with_focal)
        assert np.abs(poses - expected.cam_from_world).max() < 1e-5
        assert np.abs(depth / expected.inverse_depth - 1).max() < 1e-4
        assert camera == pytest.approx(expected.intrinsics, rel=1e-5)
        assert (camera[0] != problem.camera[0]) == with_focal


def test_without_a_prior_they_agree_but_for_the_scale():
    problems = make_problems(0.01, 1.0)
    for problem, (poses, _, _) in zip(problems, solved(problems, 0.0, False), strict=True):
        expected = expected_of(problem, 0.0, False).cam_from_world
        scale = np.linalg.norm(poses[:, :3]) / np.linalg.norm(expected[:, :3])
        assert np.abs(poses[:, :3] / scale - expected[:, :3]).max() < 1e-6


def test_derivatives_are_those_of_the_projection():
    problems = make_problems(0.02, 1.0)
    cameras, plan, seen, weight = on_torch(problems)
    used = plan.edge >= 0
    pixels = torch.empty_like(seen)
    pixels[plan.edge[used]] = geometry.reproject(cameras, plan.source[used], plan.target[used])
    terms = edge_terms.linearize(cameras, plan, pixels, weight)
    assert terms.gradient.abs().max() < 1e-5
    move = 1e-5 * torch.randn(len(plan.free), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian = edge_terms.edge_jacobians(cameras, plan, None)
    cameras.retract(plan.free, move)
    moved = edge_terms.linearize(cameras, plan, pixels, weight)
    step = torch.zeros(2, plan.variables, dtype=torch.float64)
    step[:, :-1] = step.new_zeros(2 * plan.poses, 6).index_copy(0, plan.free_index, move).reshape(2, -1)
    each = step.repeat_interleave(plan.shape[1] * plan.shape[2], 0)
    own = (jacobian @ each[..., None])[:, :6, 0]
    expected = -(terms.hessian[:, :6, :6] @ own[..., None])[..., 0]
    change = (moved.gradient - terms.gradient)[:, :6]
    assert torch.linalg.norm(change - expected) < 1e-3 * torch.linalg.norm(expected)


def adjusted(iterations, **parity):
    cameras, plan, seen, weight = on_torch(make_problems(0.01, 1.0))
    options = dense_ba.DenseBAOptions(iterations=iterations)
    eta = torch.full_like(cameras.inverse_depth, 1e-9)
    inputs = (cameras, plan, seen, weight, eta, torch.full((2,), 0.01), None, options)
    reference.adjust(TrackerParity(**parity), *inputs)
    return cameras


def test_parity_keeps_the_depths_of_the_first_step_alone():
    one, two, found = adjusted(1), adjusted(2), adjusted(2, one_depth_step=True)
    assert torch.equal(found.inverse_depth, one.inverse_depth)
    assert torch.equal(found.translation, two.translation) and not torch.equal(found.translation, one.translation)
    assert not torch.equal(two.inverse_depth, one.inverse_depth)


def test_parity_moves_depths_without_the_first_pose():
    usual, found = adjusted(1), adjusted(1, skip_first_pose=True)
    assert torch.equal(found.translation, usual.translation)
    assert not torch.equal(found.inverse_depth, usual.inverse_depth)
    # The last frame of the second clip has no edge to the first one that moves.
    first_free, far = 1, sum(SIZES) - 1
    assert not torch.equal(found.inverse_depth[first_free], usual.inverse_depth[first_free])
    assert torch.equal(found.inverse_depth[far], usual.inverse_depth[far])


def test_a_clip_does_not_see_the_others():
    problems = make_problems(0.01, 1.0)
    together = solved(problems, 0.01, False, iterations=2)
    far = make_problems(0.05, 1.0)
    beside = solved([problems[0], far[1]], 0.01, False, iterations=2)
    assert np.array_equal(together[0][0], beside[0][0])
