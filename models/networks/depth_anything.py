"""Depth Anything V2 (Yang et al. 2024): DINOv2 and a DPT head.

By its published parameter names. DPT: Ranftl et al. 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.networks.dinov2 import PATCH_PX, VIT_SIZES, DinoV2, VitSize

TAPS = {"vits": (2, 5, 8, 11), "vitb": (2, 5, 8, 11), "vitl": (4, 11, 17, 23)}
HEAD_CHANNELS = {
    "vits": (64, (48, 96, 192, 384)),
    "vitb": (128, (96, 192, 384, 768)),
    "vitl": (256, (256, 512, 1024, 1024)),
}
LAST_CHANNELS = 32


class DepthAnythingV2(nn.Module):
    """Network for relative inverse depth of images.

    Args:
      encoder: size of DINOv2: vits, vitb or vitl.
    """

    def __init__(self, encoder: str = "vitl") -> None:
        super().__init__()
        channels, levels = HEAD_CHANNELS[encoder]
        self.taps = TAPS[encoder]
        self.pretrained = DinoV2(VIT_SIZES[encoder])
        self.depth_head = _DptHead(VIT_SIZES[encoder], channels, levels)

    def forward(self, images: Tensor) -> Tensor:
        """Inverse depth (n, h, w) >= 0, up to scale and shift.

        Images are normalized, (n, 3, h, w).

        h and w are multiples of 14.
        """
        grid = (images.shape[-2] // PATCH_PX, images.shape[-1] // PATCH_PX)
        levels = [tokens.unflatten(1, grid).permute(0, 3, 1, 2) for tokens, _ in self.pretrained(images, self.taps)]
        inverse_depth: Tensor = self.depth_head(levels)
        return inverse_depth[:, 0]

    def prepare(self, dtype: torch.dtype) -> DepthAnythingV2:
        """Prepares the loaded network for inference: layer scales folded, one dtype, channels-last."""
        self.pretrained.fold_scales()
        return self.eval().requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)


class _DptHead(nn.Module):
    def __init__(self, size: VitSize, channels: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(size.width, level, 1) for level in levels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(levels[0], levels[0], 4, 4),
                nn.ConvTranspose2d(levels[1], levels[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(levels[3], levels[3], 3, 2, 1),
            )
        )
        self.scratch = _Scratch(channels, levels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        scratch = self.scratch
        height, width = (PATCH_PX * side for side in levels[0].shape[-2:])
        resized = [
            resize(project(level))
            for level, project, resize in zip(levels, self.projects, self.resize_layers, strict=True)
        ]
        one, two, three, four = (scratch.reduce(index, level) for index, level in enumerate(resized, start=1))
        path = scratch.refinenet4(four, None, three.shape[-2:])
        path = scratch.refinenet3(path, three, two.shape[-2:])
        path = scratch.refinenet2(path, two, one.shape[-2:])
        path = scratch.refinenet1(path, one, (2 * one.shape[-2], 2 * one.shape[-1]))
        path = _resize(scratch.output_conv1(path), (height, width))
        return scratch.output_conv2(path)


class _Scratch(nn.Module):
    def __init__(self, channels: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        for index, level in enumerate(levels, start=1):
            setattr(self, f"layer{index}_rn", nn.Conv2d(level, channels, 3, 1, 1, bias=False))
            setattr(self, f"refinenet{index}", _FeatureFusionBlock(channels))
        self.output_conv1 = nn.Conv2d(channels, channels // 2, 3, 1, 1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(channels // 2, LAST_CHANNELS, 3, 1, 1), nn.ReLU(), nn.Conv2d(LAST_CHANNELS, 1, 1), nn.ReLU()
        )

    def reduce(self, index: int, level: Tensor) -> Tensor:
        return getattr(self, f"layer{index}_rn")(level)


class _FeatureFusionBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = _ResidualConvUnit(channels)
        self.resConfUnit2 = _ResidualConvUnit(channels)

    def forward(self, path: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        if skip is not None:
            path = path + self.resConfUnit1(skip)
        # Resizing and 1 x 1 convolution commute: in this order the convolution has a quarter of the pixels.
        return _resize(self.out_conv(self.resConfUnit2(path)), size)


class _ResidualConvUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, path: Tensor) -> Tensor:
        return path + self.conv2(F.relu(self.conv1(F.relu(path))))


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)
