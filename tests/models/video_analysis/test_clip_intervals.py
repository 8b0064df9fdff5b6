from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from models.video_analysis.clip_intervals import ClipSettings, split_shot
from models.video_analysis.reference import reference_intervals

SETTINGS = ClipSettings()
seconds = st.fractions(0, 200, max_denominator=30)


def closed(end, settings=SETTINGS, start=Fraction(0)):
    return split_shot(start, end, settings, shot_is_closed=True)[0]


@given(seconds)
def test_no_piece_is_too_long_or_too_short_and_nothing_is_lost(end):
    pieces = closed(end)
    assert all(SETTINGS.min_s <= b - a <= SETTINGS.max_s for a, b in pieces)
    assert [b for _, b in pieces[:-1]] == [a for a, _ in pieces[1:]]
    if end >= SETTINGS.min_s:
        assert (pieces[0][0], pieces[-1][1]) == (0, end)
    else:
        assert pieces == []


@given(st.sampled_from(["even", "greedy"]), st.lists(seconds, max_size=8), seconds)
def test_planning_while_the_shot_is_open_changes_nothing(split, looks, end):
    settings = ClipSettings(split=split)
    pieces, undecided = [], Fraction(0)
    for known in sorted(look for look in looks if look <= end):
        found, undecided = split_shot(undecided, known, settings, shot_is_closed=False)
        pieces += found
    pieces += split_shot(undecided, end, settings, shot_is_closed=True)[0]
    assert pieces == closed(end, settings)


def test_even_splitting_halves_the_rest():
    assert [float(b - a) for a, b in closed(Fraction(31))] == [15, 8, 8]


def test_greedy_splitting_drops_a_short_rest():
    greedy = ClipSettings(split="greedy")
    assert [float(b - a) for a, b in closed(Fraction(32), greedy)] == [15, 15]
    assert [float(b - a) for a, b in closed(Fraction(34), greedy)] == [15, 15, 4]


def test_reference_intervals_trim_split_and_round():
    # 100 frames at 30 fps last 3.333 s and hold less than 3 s between the trims; 1100 frames last 36.667 s.
    assert reference_intervals([(0, 100), (100, 1200)], 30.0, SETTINGS) == [(109, 559), (559, 1009), (1009, 1191)]


def test_reference_intervals_of_a_fractional_rate():
    # 24000/1001 fps: bounds go through millisecond timecodes, then frames round half to even.
    fps = 24000 / 1001
    assert reference_intervals([(0, 240)], fps, SETTINGS) == [(round(0.3 * fps), round(9.71 * fps))]
