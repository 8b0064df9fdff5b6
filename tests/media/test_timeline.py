from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from media.timeline import Timeline

MILLISECONDS = Fraction(1, 1000)
STAMPS = st.one_of(st.none(), st.integers(-100_000, 100_000))


def assign_all(stamps: list[tuple[int | None, int | None]], step: int = 40) -> tuple[list[int], int]:
    timeline = Timeline(step, MILLISECONDS)
    return [timeline.next_pts(pts, dts) for pts, dts in stamps], timeline.repairs


@given(st.lists(st.tuples(STAMPS, STAMPS), max_size=60))
def test_pts_increase_strictly(stamps: list[tuple[int | None, int | None]]) -> None:
    placed, repairs = assign_all(stamps)
    assert all(a < b for a, b in pairwise(placed))
    assert 0 <= repairs <= len(stamps)


@given(st.lists(st.integers(-(10**9), 10**9), unique=True, max_size=60))
def test_valid_pts_are_kept(times: list[int]) -> None:
    times.sort()
    assert assign_all([(t, None) for t in times]) == (times, 0)


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=60), st.integers(0, 59))
def test_starting_at_a_valid_frame_gives_the_same_pts(times: list[int], start: int) -> None:
    placed, _ = assign_all([(t, None) for t in times])
    start %= len(times)
    timeline = Timeline(40, MILLISECONDS)
    for t in times[:start]:
        timeline.next_pts(t, None)
    if timeline.repairs == 0 and placed[start] == times[start]:
        assert assign_all([(t, None) for t in times[start:]])[0] == placed[start:]


def test_missing_pts_come_from_dts() -> None:
    placed, repairs = assign_all([(None, 3), (4, 4), (None, 5), (None, None)], step=1)
    assert (placed, repairs) == ([3, 4, 5, 6], 3)


def test_without_timestamps_nominal_durations_are_counted() -> None:
    assert assign_all([(None, None)] * 3) == ([0, 40, 80], 3)


def test_a_duplicate_pts_moves_by_one_tick() -> None:
    assert assign_all([(0, 0), (40, 0), (40, 0), (80, 0)]) == ([0, 40, 41, 80], 1)


def test_pts_continue_after_a_clock_reset() -> None:
    times = [(k * 40, None) for k in range(100)] + [(k * 40, None) for k in range(100)]
    placed, repairs = assign_all(times)
    assert placed == [k * 40 for k in range(200)]
    assert repairs == 100


def test_a_single_wrong_pts_does_not_move_the_rest() -> None:
    times = [k * 40 for k in range(100)]
    placed, repairs = assign_all([(0 if k == 60 else t, None) for k, t in enumerate(times)])
    assert placed[:60] == times[:60] and placed[61:] == [t + 0 for t in times[61:]]
    assert repairs == 1
