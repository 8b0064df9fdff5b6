"""Metric depth and focal length by UniDepthV2 (Piccinelli et al. 2025), through the authors' package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from core.arrays import UInt8Array
from models.depth.mono_depth import DepthKind, FrameDepths
from models.depth.settings import DepthSettings
from models.networks.batches import BatchRunner
from models.networks.pixels import resize_maps
from models.networks.weights import read_tensors
from models.registry import WeightsError

LONG_SIDE_PX = 640


class UniDepth:
    """UniDepthV2 behind the interface of `DepthModel`.

    Args:
      network: loaded `UniDepthV2` of the package.
      settings: device and batches. On a GPU the package always runs in fp16.
    """

    kind: DepthKind = "metric"

    def __init__(self, network: Any, settings: DepthSettings) -> None:
        self._device = torch.device(settings.device)
        self._network = network.eval().to(self._device)
        self._settings = settings
        self.halvings = 0

    def predict(self, frames_rgb_u8: Sequence[UInt8Array], size: tuple[int, int]) -> FrameDepths:
        """See `DepthModel.predict`. Valid where depth is above 0."""
        settings = self._settings

        def compute(images: Tensor, _: int) -> tuple[Tensor, Tensor]:
            depth, focal = self.infer(images)
            return resize_maps(depth, size), focal.double() * size[0]

        runner = BatchRunner(compute, self._device, settings.batch_frames, settings.batch_mib << 20)
        maps, focal_px = runner.run(frames_rgb_u8)
        self.halvings += runner.halvings
        return FrameDepths(maps=maps, is_valid=np.isfinite(maps) & (maps > 0), focal_px=focal_px)

    def infer(self, images_u8: Tensor) -> tuple[Tensor, Tensor]:
        """Depth in meters, and focal length over image width, of images.

        Depth is (n, h', w'), focal length (n,), images (n, h, w, 3) uint8.

        A longer side above 640 is reduced to 640 first, as in SpatialVID.
        """
        images = images_u8.permute(0, 3, 1, 2).float()
        height, width = images.shape[-2:]
        scale = min(1.0, LONG_SIDE_PX / max(height, width))
        size = (round(height * scale), round(width * scale))
        images = F.interpolate(images, size, mode="bilinear") if scale < 1 else images
        found = self._network.infer(images)
        return found["depth"][:, 0].float(), found["intrinsics"][:, 0, 0].float() / size[1]


def load_unidepth(paths: Mapping[str, str], settings: DepthSettings) -> UniDepth:
    """Loads UniDepthV2 from the config.json and model.safetensors of its Hugging Face repository.

    Raises:
      WeightsError: if the package is missing or the files do not fit it.
    """
    try:
        from unidepth.models import UniDepthV2
    except ImportError as error:
        raise WeightsError(
            f"annotate.depth.metric=unidepth-v2-vitl14 needs the package unidepth ({error}): install it from "
            "https://github.com/lpiccinelli-eth/UniDepth, or set annotate.depth.metric=moge-2-vitl"
        ) from error
    with open(paths["config.json"], encoding="utf-8") as file:
        config = json.load(file)
    path = paths["model.safetensors"]
    try:
        # Without losses; without the encoder's own weights, which would be downloaded.
        config["training"]["losses"] = {}
        config["model"]["pixel_encoder"]["pretrained"] = None
        network = UniDepthV2(config)
        # The file holds a few more tensors than the network.
        missing = network.load_state_dict(read_tensors(path), strict=False).missing_keys
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path!r} does not fit UniDepthV2 of the installed package: {error!r}") from error
    if missing:
        raise WeightsError(f"{path!r} does not fit UniDepthV2 of the installed package: it lacks {missing[:3]}")
    return UniDepth(network, settings)
