"""Patch alignment between an image and a known warp of it."""

import numpy as np
import pytest

from native.patch_alignment import align_patches

HEIGHT, WIDTH = 120, 160


def texture(x, y):
    """A smooth texture, defined at any position."""
    waves = ((0.31, 0.12, 0.4), (-0.17, 0.28, 1.9), (0.08, -0.23, 0.2), (0.45, 0.37, 2.5), (-0.4, 0.19, 5.0))
    return 128 + sum(20 * np.sin(a * x + b * y + c) for a, b, c in waves)


def warped_pair(matrix, shift, gain=1.0, offset=0.0):
    """An image, and its affine warp by matrix and shift."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    first = texture(x, y)
    second = texture(matrix[0, 0] * x + matrix[0, 1] * y + shift[0], matrix[1, 0] * x + matrix[1, 1] * y + shift[1])
    return np.rint(np.clip(np.stack([first, second * gain + offset]), 0, 255)).astype(np.uint8)


MATRIX = np.array([[0.93, 0.11], [-0.09, 0.96]])
SHIFT = np.array([5.3, -2.4])


def queries(count, error_px, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform((35, 35), (WIDTH - 35, HEIGHT - 35), (count, 2))
    return true, true @ MATRIX.T + SHIFT, true + rng.normal(0, error_px, (count, 2))


def align(stack, at, initial, **options):
    count = len(at)
    warp = np.broadcast_to(MATRIX, (count, 2, 2))
    return align_patches(stack, np.zeros(count), np.ones(count), at, initial, warp, **options)


def test_positions_are_accurate_to_hundredths_of_a_pixel_for_any_gain_and_bias():
    true, at, initial = queries(300, 1.0)
    for gain, offset in ((1.0, 0.0), (0.6, 40.0)):
        found, correlation, _ = align(warped_pair(MATRIX, SHIFT, gain, offset), at, initial)
        assert np.isfinite(correlation).mean() > 0.98
        error = np.linalg.norm(found - true, axis=1)
        assert np.nanmedian(error) < 0.02
        assert np.nanpercentile(error, 95) < 0.06
        assert np.nanmin(correlation) > 0.98


def test_the_result_does_not_depend_on_threads():
    _, at, initial = queries(2000, 1.5)
    stack = warped_pair(MATRIX, SHIFT)
    one, many = (align(stack, at, initial, num_threads=n) for n in (1, 3))
    assert np.array_equal(one[0], many[0], equal_nan=True)
    assert np.array_equal(one[1], many[1], equal_nan=True)


def test_patches_without_a_corner_fail():
    flat = np.full((2, HEIGHT, WIDTH), 90, np.uint8)
    edge = np.tile((np.arange(WIDTH) > WIDTH // 2).astype(np.uint8) * 200, (2, HEIGHT, 1))
    middle = np.array([[WIDTH / 2, HEIGHT / 2]])
    for stack in (flat, edge):
        found, correlation, _ = align_patches(stack, [0], [1], middle, middle, np.eye(2)[None])
        assert np.isnan(found).all() and np.isnan(correlation).all()


def test_positions_outside_the_image_or_not_finite_fail():
    stack = warped_pair(MATRIX, SHIFT)
    at = np.full((4, 2), 60.0)
    initial = np.array([[2.0, 60], [60, HEIGHT + 50], [np.nan, 60], [1e20, 60]])
    found, correlation, _ = align(stack, at, initial)
    assert np.isnan(found).all() and np.isnan(correlation).all()


@pytest.mark.parametrize(
    "change",
    [{"radius_px": 0}, {"radius_px": 13}, {"iterations": 0}, {"num_threads": 0}],
)
def test_wrong_options_are_refused(change):
    _, at, initial = queries(2, 1.0)
    with pytest.raises(ValueError, match="must be"):
        align(warped_pair(MATRIX, SHIFT), at, initial, **change)


def test_shapes_and_image_indices_are_checked():
    stack = warped_pair(MATRIX, SHIFT)
    at = np.full((2, 2), 60.0)
    with pytest.raises(ValueError, match="image indices"):
        align_patches(stack, [0, 0], [1, 2], at, at, np.tile(np.eye(2), (2, 1, 1)))
    with pytest.raises(ValueError, match="warp"):
        align_patches(stack, [0, 0], [1, 1], at, at, np.eye(2))


def test_sigma_is_that_of_positions_in_noisy_images():
    true, at, initial = queries(400, 0.5)
    stack = warped_pair(MATRIX, SHIFT, gain=0.4, offset=70).astype(float)
    noise = 3.0
    noisy = np.rint(stack + np.random.default_rng(1).normal(0, noise, stack.shape) * [[[0]], [[1]]]).astype(np.uint8)
    found, _, sigma = align(noisy, at, initial)
    ratio = (found - true) / (noise * sigma[:, None])
    middle = np.nanpercentile(ratio, [16, 84])
    assert -1.3 < middle[0] < -0.75 and 0.75 < middle[1] < 1.3
