"""Finds where small patches of one picture lie in another, to a hundredth of a pixel, in native code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from native import _native

SingleArray = npt.NDArray[np.float32]


class PatchPlaces(NamedTuple):
    """Where patches lie.

    Attributes:
      at_px: (k, 2) float32 x and y in the target.
      match: (k,) float32 zero-mean normalized correlation there.
      spread_px: (k,) float32 standard deviation of x and of y, in the mean, for noise of one gray level in each pixel.
    """

    at_px: SingleArray
    match: SingleArray
    spread_px: SingleArray


def align_patches(
    pictures: npt.NDArray[np.uint8],
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    at_px: npt.ArrayLike,
    guess_px: npt.ArrayLike,
    source_from_target: npt.ArrayLike,
    *,
    radius_px: int = 6,
    iterations: int = 12,
    num_threads: int = 1,
) -> PatchPlaces:
    """Places of patches in other pictures, by Gauss-Newton steps on the zero-mean difference of warped patches.

    A patch is a square of 2 radius + 1 pixels of the target; its pixels are read in the source through the warp
    (the inverse compositional form of Lucas-Kanade, Baker and Matthews 2004, of the place alone; brightness and
    contrast are free).

    Args:
      pictures: (n, h, w) uint8.
      source, target: (k,) int: pictures that patches are taken from and looked for in.
      at_px: (k, 2) x and y of the patches' middles in their source, pixel centers at integers.
      guess_px: (k, 2) where to begin in the target.
      source_from_target: (k, 2, 2): the offset in the source of an offset from the middle in the target.
      radius_px: 1 to 12.
      iterations: steps at most.
      num_threads: at least 1; results do not depend on it.

    Returns:
      Places; NaN where a patch has no corner, leaves the picture, or does not settle.

    Raises:
      ValueError: if shapes do not fit, or a number is out of its range.
    """
    places = _native.align_patches(
        np.ascontiguousarray(pictures, np.uint8),
        np.asarray(source, np.int32),
        np.asarray(target, np.int32),
        np.asarray(at_px, np.float32),
        np.asarray(guess_px, np.float32),
        np.asarray(source_from_target, np.float32),
        radius_px,
        iterations,
        num_threads,
    )
    return PatchPlaces(*places)
