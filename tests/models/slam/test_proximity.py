"""Which keyframes are joined."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.slam.proximity import ProximityOptions, candidate_pairs, select_edges

OPTIONS = ProximityOptions(suppression=2, max_distance_px=10.0)


def chosen(distance, max_edges=1000.0, existing=(), options=OPTIONS):
    count = len(distance)
    pairs = candidate_pairs(count, 0, 0, options.radius)
    return select_edges(pairs, distance[tuple(pairs.T)], existing, count, 0, max_edges, options)


@given(st.integers(4, 14), st.integers(0, 5))
def test_edges_come_in_both_directions_and_join_neighbors(count, seed):
    distance = np.random.default_rng(seed).uniform(0, 20, (count, count)).astype(np.float32)
    edges = {tuple(e) for e in chosen(distance)}
    assert edges == {(j, i) for i, j in edges}
    assert {(i, j) for i in range(count) for j in range(i) if i - j <= 3} <= edges
    assert all(distance[max(e), min(e)] <= 10 for e in edges if abs(e[0] - e[1]) > 3)


def test_near_views_far_in_time_are_joined_once():
    distance = np.full((12, 12), 50, np.float32)
    distance[11, 0], distance[11, 1], distance[10, 0] = 1, 2, 2
    far = {tuple(e) for e in chosen(distance) if abs(e[0] - e[1]) > 3}
    assert far == {(11, 0), (0, 11)}


def test_existing_edges_and_the_limit_hold_back_new_ones():
    distance = np.full((12, 12), 50, np.float32)
    distance[11, 0] = 1
    assert not [e for e in chosen(distance, existing=[(10, 0)]) if abs(e[0] - e[1]) > 3]
    assert not [e for e in chosen(distance, max_edges=10) if abs(e[0] - e[1]) > 3]
