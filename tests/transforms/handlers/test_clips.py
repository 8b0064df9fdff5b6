"""Clips on their way into frame models: decoded ahead, grouped by size and bytes."""

import threading
import time

import pytest

from transforms.handlers.clips import decode_ahead, group_by_bytes, stream_ahead


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


def test_results_of_items_are_read_ahead_in_order_and_only_so_far():
    given = []

    def read(item):
        for k in range(10):
            given.append((item, k))
            yield item * 10 + k
        if item == 3:
            raise OSError("cannot read 3")

    results = stream_ahead(read, range(9), threads=2, most=3)
    assert next(results) == (0, 0)
    time.sleep(0.1)
    assert {item for item, _ in given} == {0, 1} and len(given) <= 10
    found = [next(results) for _ in range(39)]
    assert found == [(place, 10 * place + k) for place in range(4) for k in range(10)][1:]
    with pytest.raises(OSError, match="cannot read 3"):
        next(results)
    assert max(item for item, _ in given) <= 5


def test_a_reader_that_stops_ends_the_threads():
    def read(item):
        while True:
            yield item

    results = stream_ahead(read, range(3), threads=3, most=1)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_groups_hold_neighbors_of_one_kind_up_to_their_bytes():
    items = [("a", 3), ("a", 3), ("a", 3), ("b", 9), ("b", 1), ("a", 1)]
    groups = list(group_by_bytes(items, lambda i: i[0], lambda i: i[1], 6))
    assert groups == [[("a", 3), ("a", 3)], [("a", 3)], [("b", 9)], [("b", 1)], [("a", 1)]]
    assert list(group_by_bytes([], len, len, 1)) == []
