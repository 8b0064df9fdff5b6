"""Clips on their way into frame models: decoded ahead, grouped by size and bytes."""

import pytest

from models.handlers.clips import decode_ahead, in_groups


def test_decoding_runs_ahead_in_order_and_no_further_than_its_threads():
    started = []

    def load(item):
        started.append(item)
        if item == 7:
            raise OSError("cannot read 7")
        return item * 10

    results = decode_ahead(load, range(20), threads=3)
    assert [next(results), next(results)] == [0, 10]
    assert len(started) <= 5
    with pytest.raises(OSError, match="cannot read 7"):
        list(results)
    assert len(started) <= 11


def test_groups_hold_neighbours_of_one_kind_up_to_their_bytes():
    items = [("a", 3), ("a", 3), ("a", 3), ("b", 9), ("b", 1), ("a", 1)]
    groups = list(in_groups(items, lambda i: i[0], lambda i: i[1], 6))
    assert groups == [[("a", 3), ("a", 3)], [("a", 3)], [("b", 9)], [("b", 1)], [("a", 1)]]
    assert list(in_groups([], len, len, 1)) == []
