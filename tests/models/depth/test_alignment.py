"""Depth of networks in one unit along a clip."""

import numpy as np
import pytest

from models.depth.alignment import align_depth
from models.depth.mono_depth import FrameDepths


def seen(maps, focal=np.nan, is_valid=None):
    maps = np.asarray(maps, np.float32)
    valid = np.ones(maps.shape, bool) if is_valid is None else is_valid
    return FrameDepths(maps=maps, is_valid=valid, focal_px=np.full(len(maps), focal))


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(1, 8, (5, 20, 30))


def test_relative_depth_takes_the_metric_one_s_unit(truth):
    found = align_depth(seen(3 / truth - 0.1), seen(truth, focal=25.0))
    assert np.percentile(found.inverse_depth, 98) == pytest.approx(2.0, rel=1e-3)
    meters = found.meters_per_unit / found.inverse_depth
    assert np.abs(meters / truth - 1).max() < 1e-3
    assert found.focal_px == 25.0


def test_one_fit_serves_all_frames(truth):
    metric = truth * np.array([1.0, 1.1, 0.9, 1.0, 5.0])[:, None, None]
    found = align_depth(seen(1 / truth), seen(metric))
    meters = found.meters_per_unit / found.inverse_depth
    assert np.abs(meters / truth - 1).max() < 0.11


def test_what_a_fit_puts_behind_infinity_is_unknown(truth):
    relative = 1 / truth - 0.3
    found = align_depth(seen(relative), None)
    assert (found.inverse_depth[relative <= 0] == 0).all()
    assert found.meters_per_unit is None and found.focal_px is None


def test_metric_depth_alone_serves_too(truth):
    valid = truth < 7
    found = align_depth(None, seen(np.where(valid, truth, 0), is_valid=valid))
    assert ((found.inverse_depth > 0) == valid).all()
    assert np.abs(found.meters_per_unit / found.inverse_depth[valid] / truth[valid] - 1).max() < 1e-4


def test_no_depth_is_an_error(truth):
    with pytest.raises(ValueError, match="relative, metric or both"):
        align_depth(None, None)
    with pytest.raises(ValueError, match="see no depth"):
        align_depth(None, seen(truth, is_valid=np.zeros(truth.shape, bool)))
