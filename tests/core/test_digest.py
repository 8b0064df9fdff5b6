from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.digest import DIGEST_LENGTH, digest_bytes, digest_value
from core.time import FrameSpan

SPAN = FrameSpan(start_frame=0, end_frame=5, start_pts=0, end_pts=500, time_base=Fraction(1, 1000))


def test_a_digest_is_128_bits_of_sha_256():
    assert digest_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb924"
    assert len(digest_value({})) == DIGEST_LENGTH


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_the_order_of_keys_does_not_matter(value):
    assert digest_value(value) == digest_value(dict(reversed(value.items())))


def test_records_count_by_value():
    assert digest_value({"span": SPAN}) == digest_value({"span": SPAN})
    assert digest_value({"a": 1}) != digest_value({"a": "1"})


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        digest_value({"a": float("nan")})
