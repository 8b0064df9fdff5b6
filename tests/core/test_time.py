from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


TICKS = st.integers(-(10**12), 10**12)
LENGTHS = st.integers(1, 10**9)
TIME_BASES = st.fractions(min_value=Fraction(1, 10**6), max_value=1)


@given(LENGTHS, TICKS, LENGTHS, TIME_BASES)
def test_rate_times_duration_is_the_number_of_frames(frames, start_pts, ticks, time_base):
    span = FrameSpan(
        start_frame=0, end_frame=frames, start_pts=start_pts, end_pts=start_pts + ticks, time_base=time_base
    )
    assert span.fps * span.duration_s == span.num_frames == frames
    assert span.start_s + span.duration_s == span.end_s


@given(LENGTHS, LENGTHS, TICKS, LENGTHS, LENGTHS, TIME_BASES)
def test_neighboring_spans_add_up(first, second, start_pts, ticks, more_ticks, time_base):
    middle, end_pts = start_pts + ticks, start_pts + ticks + more_ticks
    one = FrameSpan(start_frame=0, end_frame=first, start_pts=start_pts, end_pts=middle, time_base=time_base)
    two = FrameSpan(start_frame=first, end_frame=first + second, start_pts=middle, end_pts=end_pts, time_base=time_base)
    whole = FrameSpan(
        start_frame=0, end_frame=first + second, start_pts=start_pts, end_pts=end_pts, time_base=time_base
    )
    assert one.duration_s + two.duration_s == whole.duration_s
    assert one.num_frames + two.num_frames == whole.num_frames


@given(st.integers(-5, 5), st.integers(-5, 5), TIME_BASES)
def test_an_interval_holds_a_frame_and_lasts(frames, ticks, time_base):
    make = partial(FrameSpan, start_frame=10, start_pts=0, time_base=time_base)
    if frames > 0 and ticks > 0:
        assert make(end_frame=10 + frames, end_pts=ticks).duration_s > 0
    else:
        with pytest.raises(ValueError, match="at least one frame"):
            make(end_frame=10 + frames, end_pts=ticks)
