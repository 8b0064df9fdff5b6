"""Relative inverse depth by Depth Anything V2 (Yang et al. 2024), with the authors' preprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from core.arrays import UInt8Array
from models.depth.mono_depth import DepthKind, FrameDepths
from models.depth.settings import DepthSettings
from models.networks.batches import BatchRunner
from models.networks.depth_anything import DepthAnythingV2
from models.networks.dinov2 import MEAN_RGB, PATCH_PX, STD_RGB
from models.networks.pixels import DTYPES, normalize, resize_maps, to_unit
from models.networks.weights import load_tensors, read_tensors

SHORT_SIDE_PX = 518


class DepthAnything:
    """Depth Anything V2 behind the interface of `DepthModel`.

    Args:
      network: loaded, and prepared to run.
      settings: device and batches.
    """

    kind: DepthKind = "relative"

    def __init__(self, network: DepthAnythingV2, settings: DepthSettings) -> None:
        self._device = torch.device(settings.device)
        self._network = network.to(self._device)
        self._dtype = network.pretrained.cls_token.dtype
        self._settings = settings
        self.halvings = 0

    def predict(self, frames_rgb_u8: Sequence[UInt8Array], size: tuple[int, int]) -> FrameDepths:
        """See `DepthModel.predict`. All pixels are valid; no focal length is predicted."""
        settings = self._settings
        runner = BatchRunner(
            lambda images, _: (resize_maps(self.infer(images), size),),
            self._device,
            settings.batch_frames,
            settings.batch_mib << 20,
        )
        (maps,) = runner.run(frames_rgb_u8)
        self.halvings += runner.halvings
        return FrameDepths(maps=maps, is_valid=np.ones(maps.shape, bool), focal_px=np.full(len(maps), np.nan))

    def infer(self, images_u8: Tensor) -> Tensor:
        """(n, h', w') float32 inverse depth of (n, h, w, 3) uint8 images.

        At the size of the network's input.

        Resized bicubically without antialiasing, as by OpenCV in the authors' code.
        """
        height, width = network_size(images_u8.shape[1], images_u8.shape[2])
        resized = F.interpolate(to_unit(images_u8), (height, width), mode="bicubic")
        images = normalize(resized, MEAN_RGB, STD_RGB).to(self._dtype, memory_format=torch.channels_last)
        inverse_depth: Tensor = self._network(images)
        return inverse_depth.float()


def network_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the network's input, with the image's aspect ratio.

    The shorter side is at least 518; both are multiples of 14.
    """
    scale = max(SHORT_SIDE_PX / height, SHORT_SIDE_PX / width)
    return _to_patches(height * scale), _to_patches(width * scale)


def _to_patches(length_px: float) -> int:
    near = round(length_px / PATCH_PX) * PATCH_PX
    return near if near >= SHORT_SIDE_PX else math.ceil(length_px / PATCH_PX) * PATCH_PX


def load_depth_anything(paths: Mapping[str, str], settings: DepthSettings, encoder: str = "vitl") -> DepthAnything:
    """Loads Depth Anything V2 from the authors' checkpoint.

    Raises:
      WeightsError: if the weights do not fit.
    """
    (path,) = paths.values()
    network = DepthAnythingV2(encoder)
    load_tensors(network, read_tensors(path), path)
    return DepthAnything(network.prepare(DTYPES[settings.precision]), settings)
