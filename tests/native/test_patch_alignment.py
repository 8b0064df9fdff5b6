"""Places of patches in a picture that is a known warp of another."""

import numpy as np
import pytest

from native.patch_alignment import align_patches

HEIGHT, WIDTH = 120, 160


def texture(x, y):
    """A smooth picture that can be asked for at any place."""
    waves = ((0.31, 0.12, 0.4), (-0.17, 0.28, 1.9), (0.08, -0.23, 0.2), (0.45, 0.37, 2.5), (-0.4, 0.19, 5.0))
    return 128 + sum(20 * np.sin(a * x + b * y + c) for a, b, c in waves)


def pictures(matrix, shift, gain=1.0, offset=0.0):
    """A picture, and the one whose pixel q shows what the first has at matrix @ q + shift."""
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


def align(stack, at, guess, **options):
    count = len(at)
    warp = np.broadcast_to(MATRIX, (count, 2, 2))
    return align_patches(stack, np.zeros(count), np.ones(count), at, guess, warp, **options)


def test_places_are_found_to_hundredths_of_a_pixel_whatever_the_brightness():
    true, at, guess = queries(300, 1.0)
    for gain, offset in ((1.0, 0.0), (0.6, 40.0)):
        found, match, _ = align(pictures(MATRIX, SHIFT, gain, offset), at, guess)
        assert np.isfinite(match).mean() > 0.98
        error = np.linalg.norm(found - true, axis=1)
        assert np.nanmedian(error) < 0.02
        assert np.nanpercentile(error, 95) < 0.06
        assert np.nanmin(match) > 0.98


def test_the_result_does_not_depend_on_threads():
    _, at, guess = queries(2000, 1.5)
    stack = pictures(MATRIX, SHIFT)
    one, many = (align(stack, at, guess, num_threads=n) for n in (1, 3))
    assert np.array_equal(one[0], many[0], equal_nan=True)
    assert np.array_equal(one[1], many[1], equal_nan=True)


def test_what_has_no_place_of_its_own_is_not_placed():
    flat = np.full((2, HEIGHT, WIDTH), 90, np.uint8)
    edge = np.tile((np.arange(WIDTH) > WIDTH // 2).astype(np.uint8) * 200, (2, HEIGHT, 1))
    middle = np.array([[WIDTH / 2, HEIGHT / 2]])
    for stack in (flat, edge):
        found, match, _ = align_patches(stack, [0], [1], middle, middle, np.eye(2)[None])
        assert np.isnan(found).all() and np.isnan(match).all()


def test_places_out_of_the_picture_and_numbers_that_are_none_are_told():
    stack = pictures(MATRIX, SHIFT)
    at = np.full((4, 2), 60.0)
    guess = np.array([[2.0, 60], [60, HEIGHT + 50], [np.nan, 60], [1e20, 60]])
    found, match, _ = align(stack, at, guess)
    assert np.isnan(found).all() and np.isnan(match).all()


@pytest.mark.parametrize(
    "change",
    [{"radius_px": 0}, {"radius_px": 13}, {"iterations": 0}, {"num_threads": 0}],
)
def test_wrong_options_are_refused(change):
    _, at, guess = queries(2, 1.0)
    with pytest.raises(ValueError, match="must be"):
        align(pictures(MATRIX, SHIFT), at, guess, **change)


def test_shapes_and_image_indices_are_checked():
    stack = pictures(MATRIX, SHIFT)
    at = np.full((2, 2), 60.0)
    with pytest.raises(ValueError, match="image indices"):
        align_patches(stack, [0, 0], [1, 2], at, at, np.tile(np.eye(2), (2, 1, 1)))
    with pytest.raises(ValueError, match="warp"):
        align_patches(stack, [0, 0], [1, 1], at, at, np.eye(2))


def test_sigma_is_that_of_positions_in_noisy_images():
    true, at, guess = queries(400, 0.5)
    stack = pictures(MATRIX, SHIFT, gain=0.4, offset=70).astype(float)
    noise = 3.0
    noisy = np.rint(stack + np.random.default_rng(1).normal(0, noise, stack.shape) * [[[0]], [[1]]]).astype(np.uint8)
    found, _, spread = align(noisy, at, guess)
    ratio = (found - true) / (noise * spread[:, None])
    middle = np.nanpercentile(ratio, [16, 84])
    assert -1.3 < middle[0] < -0.75 and 0.75 < middle[1] < 1.3
