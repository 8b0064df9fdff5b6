from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.serialization import from_json_text, to_json_text
from core.time import FrameSpan


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: Fraction
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    items: tuple[Inner, ...]
    color: Color
    pair: tuple[int, float]
    maybe: Inner | None


def test_nested_record_survives_a_round_trip():
    record = Outer(
        items=(Inner(rate=Fraction(30000, 1001)), Inner(rate=Fraction(1, 3), note="ü")),
        color=Color.RED,
        pair=(1, 0.1),
        maybe=None,
    )
    assert from_json_text(Outer, to_json_text(record)) == record


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(-(10**12), 10**12), st.integers(1, 10**12))
def test_spans_survive_exactly(start, length, pts, ticks):
    span = FrameSpan(
        start_frame=start,
        end_frame=start + length,
        start_pts=pts,
        end_pts=pts + ticks,
        time_base=Fraction(1, 90000),
    )
    assert from_json_text(FrameSpan, to_json_text(span)) == span


def test_equal_mappings_give_equal_text():
    assert to_json_text({"b": 1, "a": 2}) == to_json_text({"a": 2, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_values_without_a_form_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        to_json_text({"x": value})


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="surprise"):
        from_json_text(Inner, '{"rate": "1/2", "surprise": 1}')
