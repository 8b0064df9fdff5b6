"""COLMAP as a pose estimator: rendered films, masks, intrinsics, and a missing package."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy.trajectories import compare_trajectories
from models.registry import WeightsError
from models.sfm.colmap import ColmapEstimator, ColmapSettings
from models.sfm.estimate import Intrinsics, IntrinsicsMode, PoseRequest
from tests.support.films import Film, film

pytestmark = pytest.mark.slow

needs_colmap = pytest.mark.skipif(
    importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed (pip install 'pycolmap>=4.2,<5')"
)


@pytest.fixture(scope="module")
def orbit() -> Film:
    return film("orbit", seconds=2.0, fps=4, size=(480, 270))


def request_of(made: Film, mode: IntrinsicsMode = "fix") -> PoseRequest:
    fx, fy, cx, cy = made.intrinsics_px[0].tolist()
    return PoseRequest(
        frames=made.frames,
        times_s=made.times_s,
        dynamic_masks=made.moving,
        intrinsics=Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy),
        intrinsics_mode=mode,
    )


@needs_colmap
@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_poses_of_a_known_film(orbit: Film, mapper: str) -> None:
    estimator = ColmapEstimator(ColmapSettings.model_validate({"mapper": mapper}))
    found = estimator(request_of(orbit))
    assert found.pose_ok and found.reason is None and found.registered.all()
    error = compare_trajectories(found.cam_from_world, found.registered, orbit.cam_from_world)
    assert error.ate_percent < 0.5
    assert error.rpe_rotation_deg < 0.2
    assert np.allclose(found.cam_from_world[0], [0, 0, 0, 0, 0, 0, 1], atol=1e-9)
    assert np.array_equal(found.intrinsics_px, orbit.intrinsics_px[0])
    assert found.reprojection_px is not None and found.reprojection_px < 1.0
    assert len(found.points_world) > 100 and (found.points_world[:, 2] > 0).mean() > 0.99


@needs_colmap
@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_focal_length_is_estimated(orbit: Film, mapper: str) -> None:
    estimator = ColmapEstimator(ColmapSettings.model_validate({"mapper": mapper}))
    found = estimator(replace(request_of(orbit, "estimate"), intrinsics=None))
    assert found.intrinsics_px[0] == found.intrinsics_px[1]
    assert found.intrinsics_px[0] == pytest.approx(orbit.intrinsics_px[0, 0], rel=0.03)
    assert found.intrinsics_px[2:] == pytest.approx(orbit.intrinsics_px[0, 2:])


@needs_colmap
def test_equal_requests_give_equal_poses(orbit: Film) -> None:
    short = replace(
        request_of(orbit), frames=orbit.frames[:4], times_s=orbit.times_s[:4], dynamic_masks=orbit.moving[:4]
    )
    first, second = (ColmapEstimator()(short) for _ in range(2))
    assert first.cam_from_world.tobytes() == second.cam_from_world.tobytes()
    assert first.points_world.tobytes() == second.points_world.tobytes()


@needs_colmap
def test_masked_pixels_have_no_features(orbit: Film) -> None:
    everything = np.ones_like(orbit.moving)
    found = ColmapEstimator()(replace(request_of(orbit), dynamic_masks=everything))
    assert not found.pose_ok and not found.registered.any() and found.reason


@needs_colmap
def test_no_parallax_fails() -> None:
    still = film("Stay", seconds=1.0, fps=4, size=(160, 90))
    found = ColmapEstimator()(request_of(still))
    assert not found.pose_ok and found.reason


def test_missing_package_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(WeightsError, match="pip install 'pycolmap"):
        ColmapEstimator()
