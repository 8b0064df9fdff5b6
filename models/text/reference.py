"""Text area as SpatialVID's OCR score computes it."""

from __future__ import annotations

import numpy as np

from core.arrays import Float32Array


def source_area_ratio(
    quads_px: Float32Array, image_size: tuple[int, int], source_size: tuple[int, int] | None
) -> float:
    """Summed area of the boxes' bounding boxes over the source video's area.

    Bounding boxes are axis-aligned; there is no upper bound.

    Raises:
      ValueError: without a source size.
    """
    if source_size is None or min(source_size) < 1:
        raise ValueError(f"text.parity needs the source video's size in pixels, got {source_size!r}")
    return bounding_box_area_px(quads_px, image_size) / (source_size[0] * source_size[1])


def bounding_box_area_px(quads_px: Float32Array, image_size: tuple[int, int]) -> int:
    """Sum of the areas of the quads' axis-aligned bounding boxes, square pixels.

    Corners are rounded and clipped to the image first; overlaps count repeatedly.
    """
    corners = np.clip(np.round(quads_px), 0, np.array(image_size, np.float32)).astype(np.int64)
    if not len(corners):
        return 0
    return int(np.prod(corners.max(axis=1) - corners.min(axis=1), axis=1).sum())
