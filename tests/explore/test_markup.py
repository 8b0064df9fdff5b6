from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explore.markup import (
    escape,
    escape_controls,
    format_clock,
    format_count,
    format_duration,
    format_number,
    format_share,
)


@given(st.text(alphabet=st.characters(codec=None)))
def test_escaped_text_holds_no_markup_and_no_hidden_character(text):
    shown = escape(text)
    assert not re.search("[<>\"'\x00-\x1f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()
    assert html.unescape(shown) == escape_controls(text)


def test_ordinary_names_stay_as_they_are():
    name = "Ünïcode 東京 [x264] 50%.mp4"
    assert escape(name) == name


def test_a_direction_override_cannot_disguise_an_extension():
    assert escape_controls("clip\u202e4pm.exe") == "clip\\u202e4pm.exe"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "not a number"),
        (0.0, "0"),
        (0.0123, "0.012"),
        (2.0, "2"),
        (2.345, "2.35"),
        (14.04, "14"),
        (139.6, "140"),
        (-3.5, "-3.5"),
        (25_000.0, "25 k"),
        (3_200_000.0, "3.2 M"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_short_number_is_close_to_the_number(value):
    text = format_number(value)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1.0)
    assert float(text.rstrip("kMG ")) * factor == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 4, "25 %"), (1, 1000, "<1 %"), (999, 1000, ">99 %"), (0, 5, "0 %"), (5, 5, "100 %"), (0, 0, "")],
)
def test_shares(part, whole, text):
    assert format_share(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (3661.25, "1:01:01.2"), (-0.5, "-0:00.5"), (12.34, "0:12.3")],
)
def test_clock(seconds, text):
    assert format_clock(seconds) == text


def test_counts_and_durations():
    assert format_count(1234567) == "1\u2009234\u2009567"
    assert [format_duration(s) for s in (None, 3.25, 59.99, 61, 3600, 7325)] == [
        "–",
        "3.2 s",
        "1 min 0 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 2 min",
    ]
