from __future__ import annotations

from fractions import Fraction

import pytest

from core.time import FrameSpan


def span(**changes):
    values = {"start_frame": 30, "end_frame": 60, "start_pts": 1001, "end_pts": 2002}
    return FrameSpan(**{**values, **changes}, time_base=Fraction(1, 1000))


def test_rates_and_durations_are_exact():
    assert span().duration_s == Fraction(1001, 1000)
    assert span().fps == Fraction(30000, 1001)


@pytest.mark.parametrize("changes", [{"end_frame": 30}, {"end_pts": 1001}])
def test_an_empty_interval_is_refused(changes):
    with pytest.raises(ValueError, match="at least one frame"):
        span(**changes)
