"""Weights and images by formula, equal in all library versions, for golden numbers."""

from __future__ import annotations

import numpy as np


def fill_by_formula(network, gain: float = 1.0) -> None:
    """Sets each parameter and buffer to noise that depends on name and index."""
    import torch

    with torch.no_grad():
        for name, tensor in sorted(network.state_dict().items()):
            if not tensor.dtype.is_floating_point:
                continue
            phase = sum(ord(c) * (i + 1) for i, c in enumerate(name)) % 1009
            wave = np.sin(np.arange(tensor.numel()) * 12.9898 + phase) * 43758.5453
            wave = 2 * (wave - np.floor(wave)) - 1
            if tensor.ndim > 1:
                # A width that keeps activations near 1.
                values = gain * wave * (6.0 / max(tensor[0].numel(), 1)) ** 0.5
            elif name.endswith("weight") or name.endswith("gamma"):
                values = 1 + 0.1 * wave
            else:
                values = 0.1 * wave
            tensor.copy_(torch.from_numpy(values.astype(np.float32)).reshape(tensor.shape))


def wavy_images(count: int, height: int, width: int) -> np.ndarray:
    """(n, h, w, 3) uint8."""
    n, y, x, c = np.ogrid[:count, :height, :width, :3]
    return np.round(127.5 + 120 * np.sin(0.11 * x + 0.07 * y * (1 + c) + 1.3 * n)).astype(np.uint8)


def fingerprint(values: np.ndarray) -> list[float]:
    """Mean, deviation, and eight values spread over an array."""
    flat = np.asarray(values, np.float64).ravel()
    picks = flat[np.linspace(0, flat.size - 1, 8).astype(int)]
    return [float(flat.mean()), float(flat.std()), *picks.tolist()]
