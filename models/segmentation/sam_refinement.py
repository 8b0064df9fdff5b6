"""What outlines moving things, whatever is inside; and where its weights are."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Protocol

from core.arrays import BoolArray, UInt8Array
from models.registry import ResolvedModel, WeightsError, resolve_model
from models.registry.table import SAM_21_LARGE
from models.segmentation.settings import MaskSettings


class MaskModel(Protocol):
    """A network that outlines things. Safe to use from several threads."""

    @property
    def halvings(self) -> int:
        """How often memory ran out, so that the batch was halved."""

    def refine(self, frames_rgb_u8: Sequence[UInt8Array], is_moving: BoolArray) -> BoolArray:
        """(n, h, w) bool: each moving region as outline of the thing that it lies on.

        Args:
          frames_rgb_u8: (h', w', 3) uint8 each, of one size; of as many clips as one likes.
          is_moving: (n, h, w), what moves in these frames, at any size.
        """

    def propagate(self, frames_rgb_u8: Sequence[UInt8Array], masks: BoolArray) -> BoolArray:
        """(n, h, w) bool: masks of one clip, each thing that is marked anywhere carried through all of it."""


def check_mask_model(settings: MaskSettings) -> ResolvedModel:
    """Weights of the network that the settings name, found and verified, before anything runs.

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
    from models.segmentation.sam import load_sam_masks

    return load_sam_masks(paths[SAM_21_LARGE.file_name], settings)
