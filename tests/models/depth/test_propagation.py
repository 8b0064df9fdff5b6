from __future__ import annotations

import numpy as np

from models.depth.propagation import propagate


def test_a_constant_stays_constant_wherever_it_is_known():
    is_known = np.random.default_rng(0).random((90, 160)) < 0.01
    found = propagate(np.where(is_known, np.float32(0.5), np.float32(9.0)), is_known)
    np.testing.assert_allclose(found, 0.5, rtol=1e-4)


def test_near_values_decide():
    values, is_known = np.zeros((80, 160), np.float32), np.zeros((80, 160), bool)
    values[:, :8], values[:, -8:] = 1.0, 3.0
    is_known[:, :8] = is_known[:, -8:] = True
    found = propagate(values, is_known)
    assert found[40, 20] < 1.1 and found[40, 140] > 2.9
    assert (np.diff(found[40]) > -1e-3).all()


def test_without_known_values_it_is_zero():
    assert not propagate(np.ones((40, 60), np.float32), np.zeros((40, 60), bool)).any()
