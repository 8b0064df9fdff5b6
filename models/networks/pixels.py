"""Images and pixel coordinates on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def to_unit(images_u8: Tensor) -> Tensor:
    """(n, 3, h, w) float32 images, 0 to 1, from (n, h, w, 3) uint8."""
    return images_u8.permute(0, 3, 1, 2).float() / 255


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (n, 3, h, w) less the mean, over the standard deviation of each channel."""
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (n, h, w) resized to (width, height), bilinear, pixel centers at half pixels."""
    if tuple(maps.shape[-2:]) == (size[1], size[0]):
        return maps
    return F.interpolate(maps[:, None], (size[1], size[0]), mode="bilinear")[:, 0]


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w, 2) float32 pixel coordinates (x, y)."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1).float()
