"""Boxes from probability maps and the area that they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.text.boxes import covered_share, find_boxes
from models.text.reference import bounding_box_area_px

THRESHOLDS = {"map_threshold": 0.3, "box_threshold": 0.6, "unclip_ratio": 1.5, "max_boxes": 1000}


def quad(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def quads(*boxes: list[list[float]]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


corner = st.integers(-5, 45)
upright_boxes = st.lists(st.tuples(corner, corner, corner, corner), max_size=6).map(
    lambda boxes: [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes if a != c and b != d]
)


@settings(deadline=None)
@given(upright_boxes)
def test_covered_share_is_the_union_of_upright_boxes(boxes):
    expected = np.zeros((30, 40), bool)
    for left, top, right, bottom in boxes:
        expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    assert covered_share(quads(*(quad(*b) for b in boxes)), (40, 30)) == expected.mean()


def test_overlaps_count_once_in_the_share_and_twice_in_the_hulls():
    boxes = quads(quad(0, 0, 10, 10), quad(0, 0, 10, 10))
    assert covered_share(boxes, (20, 10)) == 0.5
    assert bounding_box_area_px(boxes, (20, 10)) == 200


def test_a_slanted_box_counts_with_its_own_area_and_its_hull_with_twice_that():
    diamond = quads([[50, 0], [100, 50], [50, 100], [0, 50]])
    assert covered_share(diamond, (100, 100)) == pytest.approx(0.5, abs=0.011)
    assert bounding_box_area_px(diamond, (100, 100)) == 10_000


def test_hulls_are_rounded_and_clipped_to_the_image():
    assert bounding_box_area_px(quads(quad(-5.0, -5.0, 4.4, 4.6)), (100, 100)) == 4 * 5
    assert bounding_box_area_px(quads(), (100, 100)) == 0
    assert covered_share(quads(), (100, 100)) == 0.0


def probability_with(*boxes: tuple[int, int, int, int], value: float = 0.9) -> np.ndarray:
    probability = np.zeros((96, 160), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = value
    return probability


def test_a_region_becomes_a_box_grown_by_area_times_ratio_over_perimeter():
    found = find_boxes(probability_with((40, 30, 101, 43)), (160, 96), **THRESHOLDS)
    # The region's corner pixels span 60 x 12, so every side moves out by 60 * 12 * 1.5 / 144 = 7.5.
    expected = np.array([40, 30, 100, 42]) + np.array([-7.5, -7.5, 7.5, 7.5])
    hull = np.concatenate([found.quads_px[0].min(axis=0), found.quads_px[0].max(axis=0)])
    np.testing.assert_allclose(hull, expected, atol=0.6)
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_boxes_are_scaled_to_the_image():
    probability = probability_with((40, 30, 101, 43))
    small = find_boxes(probability, (160, 96), **THRESHOLDS)
    large = find_boxes(probability, (320, 960), **THRESHOLDS)
    np.testing.assert_allclose(large.quads_px, small.quads_px * [2, 10])


def test_corners_run_clockwise_from_the_top_left():
    rotated = np.zeros((96, 160), np.float32)
    for x in range(30, 120):
        rotated[x // 3 + 10 : x // 3 + 22, x] = 0.9
    for corners in (
        find_boxes(rotated, (160, 96), **THRESHOLDS).quads_px[0],
        find_boxes(probability_with((40, 30, 101, 43)), (160, 96), **THRESHOLDS).quads_px[0],
    ):
        top_left, top_right, bottom_right, bottom_left = corners
        assert top_left[0] < top_right[0]
        assert bottom_left[0] < bottom_right[0]
        assert top_left[1] < bottom_left[1]
        assert top_right[1] < bottom_right[1]


@pytest.mark.parametrize(
    "probability",
    [
        probability_with(),
        probability_with((40, 30, 100, 42), value=0.2),
        probability_with((40, 30, 100, 42), value=0.5),
        probability_with((40, 30, 100, 33)),
    ],
    ids=["nothing", "below the map threshold", "below the box threshold", "two pixels high"],
)
def test_weak_and_tiny_regions_are_no_boxes(probability):
    found = find_boxes(probability, (160, 96), **THRESHOLDS)
    assert len(found) == 0
    assert found.quads_px.shape == (0, 4, 2)


def test_at_most_max_boxes_regions_are_looked_at():
    probability = probability_with((10, 10, 40, 20), (60, 10, 90, 20), (110, 10, 140, 20))
    assert len(find_boxes(probability, (160, 96), **THRESHOLDS)) == 3
    assert len(find_boxes(probability, (160, 96), **(THRESHOLDS | {"max_boxes": 2}))) == 2
