"""Text detector of PP-OCRv5 in transformers: probability maps of text."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch

from core.arrays import Float32Array
from models.networks.weights import load_tensors, read_tensors
from models.registry import WeightsError


class TextDetector:
    """Server detector of PP-OCRv5. Safe to use from several threads.

    Args:
      paths: of `config.json` and `model.safetensors`, as published.
      device: of the network.

    Raises:
      WeightsError: if transformers is missing, or the files do not fit.
    """

    def __init__(self, paths: Mapping[str, str], device: str) -> None:
        try:
            from transformers import PPOCRV5ServerDetConfig, PPOCRV5ServerDetForObjectDetection
        except ImportError as error:
            raise WeightsError(
                f"text.model=ppocrv5-server needs transformers ({error}): pip install 'spatialbeam[models]'"
            ) from error
        with open(paths["config.json"], encoding="utf-8") as file:
            config = PPOCRV5ServerDetConfig(**json.load(file))
        network = PPOCRV5ServerDetForObjectDetection(config)
        load_tensors(network, read_tensors(paths["model.safetensors"]), paths["model.safetensors"])
        self._device = torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self._device)

    def __call__(self, pixels: Float32Array) -> Float32Array:
        """Text probability (h, w) of a preprocessed image (1, 3, h, w)."""
        with torch.inference_mode():
            found = self._network(torch.from_numpy(pixels).to(self._device)).last_hidden_state
        return np.asarray(found[0, 0].float().cpu().numpy())
