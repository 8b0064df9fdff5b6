"""Agreement of estimated masks of moving objects with the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskAgreement:
    """Over all pixels of all frames together.

    Attributes:
      iou: both / either; 1 if neither marks anything.
      precision: both / estimated; None if nothing was estimated.
      recall: both / true; None if nothing is true.
      frame_iou: mean of the frames' own IoU, as DAVIS has it (its region similarity J).
    """

    iou: float
    precision: float | None
    recall: float | None
    frame_iou: float


def compare_masks(estimate: BoolArray, truth: BoolArray) -> MaskAgreement:
    """Compares masks (n, h, w), True on moving objects.

    Raises:
      ValueError: if the shapes differ, or there is no frame.
    """
    if estimate.shape != truth.shape or truth.ndim != 3 or not len(truth):
        raise ValueError(f"expected masks (n, h, w) of one shape, got {estimate.shape} and {truth.shape}")
    both = (estimate & truth).sum((1, 2))
    either = (estimate | truth).sum((1, 2))
    found, true, hits = int(estimate.sum()), int(truth.sum()), int(both.sum())
    return MaskAgreement(
        iou=hits / int(either.sum()) if either.any() else 1.0,
        precision=hits / found if found else None,
        recall=hits / true if true else None,
        frame_iou=float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean()),
    )
