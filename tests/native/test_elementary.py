"""Elementary functions of arrays by the C library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from native import elementary


@pytest.mark.parametrize(
    ("name", "expected"), [("exp", math.exp), ("log", math.log), ("arcsin", math.asin), ("arccos", math.acos)]
)
def test_results_equal_the_c_library_bit_for_bit(name, expected):
    x = np.random.default_rng(0).uniform(0.001, 1, (40, 50)).astype(np.float32)
    found = getattr(elementary, name)(x)
    assert (found.shape, found.dtype) == (x.shape, np.float64)
    assert found.ravel().tolist() == [expected(value) for value in x.ravel().tolist()]


def test_out_of_range_arguments_give_nan():
    assert elementary.log([0.0, -1.0]).tolist()[0] == -math.inf
    assert np.isnan([*elementary.log([-1.0]), *elementary.arcsin([1.5]), *elementary.arccos([-1.5])]).all()
    assert elementary.exp(np.zeros((0, 3))).shape == (0, 3)
