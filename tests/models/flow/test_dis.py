"""DIS flow between pairs of frames and its cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from models.flow import dis as flow
from models.flow.dis import FlowCache


def shifted(count: int) -> list[np.ndarray]:
    """Frames of a texture that moves three pixels to the right a frame."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 160), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    return [np.ascontiguousarray(texture[:64, 40 - 3 * k : 136 - 3 * k]) for k in range(count)]


def no_guess(*_: int) -> np.ndarray:
    return np.zeros((64, 96, 2), np.float32)


def test_flow_is_forward_backward_consistent():
    pairs = FlowCache(shifted(2), no_guess)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(pairs.flow(0, 1)[inner] - (3, 0)).max() < 0.3
    assert np.median(pairs.forward_backward_px(0, 1)[inner]) < 0.1
    assert pairs.forward_backward_px(0, 1)[:, -2:].min() > 1000


def test_a_pair_is_computed_once_for_all_threads(monkeypatch):
    computed = []
    pairs = FlowCache(shifted(3), lambda a, b: computed.append((a, b)) or no_guess())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pairs.flow(0, 2), range(8)))
    assert computed == [(0, 2)]
    assert all(one is found[0] for one in found)


def test_the_cache_is_bounded_and_evicted_flow_is_recomputed_alike(monkeypatch):
    monkeypatch.setattr(flow, "CACHE_MIB", 0)
    frames = shifted(12)
    computed = []
    pairs = FlowCache(frames, lambda a, b: computed.append((a, b)) or no_guess())
    first = pairs.flow(0, 1).copy()
    for k in range(1, 11):
        pairs.flow(k, k + 1)
    np.testing.assert_array_equal(pairs.flow(0, 1), first)
    assert computed.count((0, 1)) == 2


def test_every_caller_gets_the_error():
    def fail(*_: int) -> np.ndarray:
        raise ValueError("no guess")

    pairs = FlowCache(shifted(2), fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no guess"):
            pairs.flow(0, 1)
