from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.sfm.feature_matching import MIN_MATCHES, Features, detect_features, match_features


def noise_image(seed):
    rng = np.random.default_rng(seed)
    grids = [rng.integers(0, 256, (240 // cell, 320 // cell), np.uint8) for cell in (4, 16)]
    parts = [cv2.resize(grid, (320, 240), interpolation=cv2.INTER_CUBIC) for grid in grids]
    return cv2.addWeighted(parts[0], 0.5, parts[1], 0.5, 0)


@pytest.fixture(scope="module")
def image():
    return noise_image(0)


def test_a_warped_image_is_matched_to_the_pixel(image):
    matrix = np.array([[0.95, -0.1, 12.0], [0.1, 0.95, -6.0]])
    warped = cv2.warpAffine(image, matrix, (320, 240))
    first, second = detect_features(image), detect_features(warped)
    source, target = match_features(first, second)
    assert len(source) >= MIN_MATCHES
    expected = first.keypoints[source] @ matrix[:, :2].T + matrix[:, 2]
    assert np.median(np.linalg.norm(expected - second.keypoints[target], axis=1)) < 0.5
    assert len(set(target.tolist())) == len(target)


def test_unrelated_images_do_not_match(image):
    source, target = match_features(detect_features(image), detect_features(noise_image(5)))
    assert len(source) == len(target) == 0


def test_flat_images_have_no_features():
    found = detect_features(np.full((240, 320), 90, np.uint8))
    assert found.keypoints.shape == (0, 2) and found.descriptors.shape == (0, 128)
    assert isinstance(found, Features)
    assert [len(part) for part in match_features(found, found)] == [0, 0]
