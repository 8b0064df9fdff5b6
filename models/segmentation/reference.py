"""Mask refinement with the error of SpatialVID's code, for comparison."""

from __future__ import annotations

from torch import Tensor

from models.segmentation.sam import SamMasks


class SwappedSamMasks(SamMasks):
    """SAM 2.1 on images with red and blue swapped."""

    def embed(self, images_u8: Tensor) -> list[Tensor]:
        """See `SamMasks.embed`."""
        return super().embed(images_u8.flip(-1))
