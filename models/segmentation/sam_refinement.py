"""Refinement of dynamic masks by a segmentation network: its interface and its weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Protocol

from core.arrays import BoolArray, UInt8Array
from models.registry import ResolvedModel, WeightsError, resolve_model
from models.registry.table import SAM_21_LARGE
from models.segmentation.settings import MaskSettings


class MaskModel(Protocol):
    """A promptable segmentation network. Safe to use from several threads."""

    @property
    def halvings(self) -> int:
        """Number of batches that were halved because memory ran out."""

    def refine(self, frames_rgb_u8: Sequence[UInt8Array], is_moving: BoolArray) -> BoolArray:
        """(n, h, w) bool masks: each moving region replaced by its object's mask.

        Args:
          frames_rgb_u8: (h', w', 3) uint8 each, all of one size; of any number of clips.
          is_moving: (n, h, w) dynamic masks of these frames, of any size.
        """

    def propagate(self, frames_rgb_u8: Sequence[UInt8Array], masks: BoolArray) -> BoolArray:
        """(n, h, w) bool masks of one clip, each object propagated through all frames."""


def check_mask_model(settings: MaskSettings) -> ResolvedModel:
    """Verified weights of the network that the settings name, before anything runs.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    found = resolve_model(SAM_21_LARGE, settings.weights_uri)
    if missing := [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]:
        raise WeightsError(
            f"annotate.masks.model={settings.model} needs the package {' and '.join(missing)}: "
            "pip install 'spatialbeam[models]', or set annotate.masks.model=residual-motion."
        )
    return found


def load_mask_model(settings: MaskSettings) -> MaskModel:
    """Loads the network that the settings name.

    Raises:
      WeightsError: what `check_mask_model` raises; if the weights do not fit.
    """
    paths = check_mask_model(settings).paths
    from models.networks.sam2 import load_sam2
    from models.segmentation import reference, sam

    model = reference.SwappedSamMasks if settings.parity else sam.SamMasks
    return model(load_sam2(paths[SAM_21_LARGE.file_name]), settings)
