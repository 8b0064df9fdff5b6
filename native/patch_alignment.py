"""Subpixel patch alignment by the inverse compositional Lucas-Kanade algorithm, in native code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from native import _native

Float32Array = npt.NDArray[np.float32]


class PatchAlignment(NamedTuple):
    """Aligned positions of patches; NaN where the alignment failed.

    Attributes:
      position_px: (k, 2) float32 x and y in the target.
      correlation: (k,) float32 zero-mean normalized cross-correlation (ZNCC) there.
      sigma_px: (k,) float32 standard deviation per coordinate for image noise of one gray level.
    """

    position_px: Float32Array
    correlation: Float32Array
    sigma_px: Float32Array


def align_patches(
    images: npt.NDArray[np.uint8],
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    position_px: npt.ArrayLike,
    initial_px: npt.ArrayLike,
    source_from_target: npt.ArrayLike,
    *,
    radius_px: int = 6,
    iterations: int = 12,
    num_threads: int = 1,
) -> PatchAlignment:
    """Aligns patches of source images in target images, for translation, gain and bias.

    Inverse compositional Lucas-Kanade (Baker and Matthews 2004): the template is a square of 2 radius + 1 pixels,
    sampled in the source through a fixed affine warp. Its gradients and Hessian are computed once; Gauss-Newton steps
    move the patch in the target.

    Args:
      images: (n, h, w) uint8.
      source, target: (k,) int: image indices: where templates are sampled, and where they are aligned.
      position_px: (k, 2) patch centers (x, y) in the source, pixel centers at integers.
      initial_px: (k, 2) initial positions in the target.
      source_from_target: (k, 2, 2) affine warps: map offsets from the center in the target to the source.
      radius_px: 1 to 12.
      iterations: maximum number of iterations.
      num_threads: at least 1; results do not depend on it.

    Returns:
      Positions; NaN where the Hessian is singular (no corner), the patch leaves the image, or does not converge.

    Raises:
      ValueError: for arrays of wrong shape, or values out of range.
    """
    result = _native.align_patches(
        np.ascontiguousarray(images, np.uint8),
        np.asarray(source, np.int32),
        np.asarray(target, np.int32),
        np.asarray(position_px, np.float32),
        np.asarray(initial_px, np.float32),
        np.asarray(source_from_target, np.float32),
        radius_px,
        iterations,
        num_threads,
    )
    return PatchAlignment(*result)
