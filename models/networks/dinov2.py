"""DINOv2 vision transformer (Oquab et al. 2023), patches of 14 pixels.

By its published parameter names.

Encoder of Depth Anything V2 and MoGe-2. Attention runs on torch's fused kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PATCH_PX = 14
TRAINED_GRID = 37
GRID_OFFSET = 0.1
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class VitSize:
    """Width, number of blocks and of attention heads of a vision transformer."""

    width: int
    depth: int
    heads: int


VIT_SIZES = {
    "vits": VitSize(width=384, depth=12, heads=6),
    "vitb": VitSize(width=768, depth=12, heads=12),
    "vitl": VitSize(width=1024, depth=24, heads=16),
}


class DinoV2(nn.Module):
    """Encoder of images into tokens.

    Args:
      size: of the transformer.
    """

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, size.width))
        self.mask_token = nn.Parameter(torch.zeros(1, size.width))
        self.patch_embed = _VitPatchEmbed(size.width)
        self.blocks = nn.ModuleList(_VitBlock(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        self._positions: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Patch and class tokens after each block in `taps`, with the final layer norm.

        Args:
          images: (n, 3, 14 h, 14 w), normalized by `MEAN_RGB` and `STD_RGB`.
          taps: increasing indices of blocks.

        Returns:
          For each tap patch tokens (n, h w, width), row-major, and class tokens (n, width).
        """
        grid = (images.shape[-2] // PATCH_PX, images.shape[-1] // PATCH_PX)
        patches = self.patch_embed(images)
        tokens = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1) + self._position(grid)
        outputs = []
        for index, block in enumerate(self.blocks[: taps[-1] + 1]):
            tokens = block(tokens)
            if index in taps:
                normal = self.norm(tokens)
                outputs.append((normal[:, 1:], normal[:, 0]))
        return outputs

    def fold_scales(self) -> None:
        """Folds the layer scales into the layers before them; call it once, after loading."""
        for block in self.blocks:
            block.fold_scales()

    def _position(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings, resampled as the authors do, with their offset of 0.1."""
        embed = self.pos_embed
        if grid == (TRAINED_GRID, TRAINED_GRID):
            return embed
        key = (*grid, embed.dtype, embed.device)
        if key not in self._positions:
            trained = embed[:, 1:].float().unflatten(1, (TRAINED_GRID, TRAINED_GRID)).permute(0, 3, 1, 2)
            factors = tuple((length + GRID_OFFSET) / TRAINED_GRID for length in grid)
            resampled = F.interpolate(trained, scale_factor=factors, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
            self._positions[key] = torch.cat((embed[:, :1], resampled.to(embed.dtype)), dim=1).detach()
        return self._positions[key]


class _VitPatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH_PX, PATCH_PX)

    def forward(self, images: Tensor) -> Tensor:
        # The convolution as one matrix product over patches, which is fast in half precision.
        n, _, height, width = images.shape
        patches = images.reshape(n, 3, height // PATCH_PX, PATCH_PX, width // PATCH_PX, PATCH_PX)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, 3 * PATCH_PX**2)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class _VitBlock(nn.Module):
    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.attn = _VitAttention(size)
        self.ls1 = _LayerScale(size.width)
        self.norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = _VitMlp(size.width)
        self.ls2 = _LayerScale(size.width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))

    @torch.no_grad()
    def fold_scales(self) -> None:
        for layer, name in ((self.attn.proj, "ls1"), (self.mlp.fc2, "ls2")):
            gamma = getattr(self, name).gamma
            layer.weight.mul_(gamma[:, None])
            layer.bias.mul_(gamma)
            setattr(self, name, nn.Identity())


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class _VitAttention(nn.Module):
    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(n, length, width))


class _VitMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))
