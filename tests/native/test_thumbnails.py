from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.thumbnails import BlendSearch, mean_change, mean_luma_change

LIMITS = {"min_distance": 9.0, "max_nonlinearity": 0.22, "max_residual": 0.48, "min_quality": 0.3}
PROBES = (0.25, 0.5, 0.75)


def thumbnails(seed, count):
    return np.random.default_rng(seed).integers(0, 256, (count, 36, 64, 3), dtype=np.uint8)


def halved(thumbnail):
    """Means of 2 x 2, rounded half up, as numbers that can be subtracted."""
    return (thumbnail.reshape(18, 2, 32, 2, 3).sum(axis=(1, 3), dtype=int) + 2) // 4


def expected_candidate(window, distance):
    """The definition, in floating point: (quality, nonlinearity, residual)."""
    first, last = halved(window[0]), halved(window[-1])
    change = last - first
    nonlinearity = residual = 0.0
    for probe in PROBES:
        step = halved(window[round(probe * (len(window) - 1))]) - first
        factor = (step * change).sum() / (change * change).sum()
        nonlinearity = max(nonlinearity, abs(factor - probe))
        residual = max(residual, np.abs(step - factor * change).mean() / distance)
    return (1 - nonlinearity) * (1 - residual), nonlinearity, residual


@given(st.integers(0, 1000))
def test_changes_are_mean_absolute_differences(seed):
    a, b = thumbnails(seed, 2)
    difference = np.abs(a.astype(int) - b)
    assert mean_change(a, b) == difference.sum() / difference.size
    assert mean_luma_change(a, b) == difference[..., 0].sum() / (36 * 64)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(36, 64, 3\)"):
        mean_change(np.zeros((36, 64, 3), np.uint8), np.zeros((36, 64), np.uint8))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.integers(0, 60), power=st.floats(0.7, 1.4))
def test_candidates_follow_their_definition(seed, noise, power):
    first, last = thumbnails(seed, 2).astype(float)
    rng = np.random.default_rng(seed)
    weights = (np.arange(13) / 12) ** power
    window = [first + w * (last - first) for w in weights]
    window = [np.clip(p + rng.uniform(-noise, noise, p.shape), 0, 255).round().astype(np.uint8) for p in window]
    search = BlendSearch((4, 8, 12), PROBES, **LIMITS)
    found = [search.push(p) for p in window]
    assert found[:4] == [[]] * 4
    by_length = {c.length: c for c in found[-1]}
    assert [c.quality for c in found[-1]] == sorted((c.quality for c in found[-1]), reverse=True)
    for length in (4, 8, 12):
        candidate = window[-1 - length :]
        distance = np.abs(halved(candidate[0]) - halved(candidate[-1])).mean()
        quality, nonlinearity, residual = expected_candidate(candidate, distance)
        if distance < 9 or nonlinearity > 0.225 or residual > 0.485 or quality < 0.295:
            assert length not in by_length
        elif nonlinearity < 0.215 and residual < 0.475 and quality > 0.305:
            assert by_length[length].quality == pytest.approx(quality, abs=2e-3)
            assert by_length[length].distance == pytest.approx(distance)
    change = halved(window[-1]) - halved(window[0])
    factors = [((halved(p) - halved(window[0])) * change).sum() / (change * change).sum() for p in window]
    assert search.factors(12) == pytest.approx(factors)


def test_factors_need_as_many_thumbnails():
    search = BlendSearch((4, 8), PROBES, **LIMITS)
    for thumbnail in thumbnails(0, 5):
        search.push(thumbnail)
    assert len(search.factors(4)) == 5
    for length in (0, 5, 8, 100):
        with pytest.raises(ValueError, match="thumbnails"):
            search.factors(length)


def test_static_frames_are_no_candidates():
    search = BlendSearch((4,), PROBES, **LIMITS)
    assert all(search.push(thumbnail) == [] for thumbnail in np.repeat(thumbnails(1, 1), 10, axis=0))


@pytest.mark.parametrize("lengths", [(), (0, 3), (5, 3)])
def test_invalid_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="lengths"):
        BlendSearch(lengths, PROBES, **LIMITS)
