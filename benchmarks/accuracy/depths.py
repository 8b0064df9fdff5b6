"""Errors of estimated depth maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

DELTA = 1.25
Alignment = Literal["none", "median", "scale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthError:
    """Errors of depths over the pixels where estimate and truth are known.

    Attributes:
      abs_rel: mean of |estimate - truth| / truth; NaN if no pixel can be compared.
      delta1: share of pixels whose ratio to the truth is within 1.25 either way; NaN as above.
      valid_share: share of the pixels of known truth that have an estimate.
      scale: what the estimate was multiplied with.
    """

    abs_rel: float
    delta1: float
    valid_share: float
    scale: float


def compare_depths(
    estimate: npt.NDArray[np.floating], truth: npt.NDArray[np.floating], alignment: Alignment = "median"
) -> DepthError:
    """Returns depth errors after one scale for all maps, or one a map.

    Args:
      estimate: z-depths, of any shape; not finite or not positive where unknown.
      truth: of the same shape, likewise.
      alignment: "median" brings the medians together (Zhou et al. 2017); "scale" makes the squares of the
        relative errors least; "none" takes the estimate as it is.

    Raises:
      ValueError: if the shapes differ.
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"expected depths of shape {truth.shape}, got {estimate.shape}")
    known = np.isfinite(truth) & (truth > 0)
    both = known & np.isfinite(estimate) & (estimate > 0)
    if not both.any():
        return DepthError(abs_rel=np.nan, delta1=np.nan, valid_share=0.0, scale=np.nan)
    found, true = estimate[both].astype(np.float64), truth[both].astype(np.float64)
    scale = 1.0
    if alignment == "median":
        scale = float(np.median(true) / np.median(found))
    elif alignment == "scale":
        ratio = found / true
        scale = float(ratio.sum() / (ratio**2).sum())
    ratio = scale * found / true
    return DepthError(
        abs_rel=float(np.abs(ratio - 1).mean()),
        delta1=float((np.maximum(ratio, 1 / ratio) < DELTA).mean()),
        valid_share=float(both.sum() / known.sum()),
        scale=scale,
    )
