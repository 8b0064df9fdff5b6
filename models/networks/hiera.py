"""Image encoder of SAM 2.1 (Ravi et al. 2024): Hiera and FPN neck.

By its published parameter names. Hiera: Ryali et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

INPUT_PX = 1024
PYRAMID_WIDTH = 256
BACKGROUND_GRID = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class HieraSize:
    """Shape of the encoder.

    Attributes:
      width, heads: of the first stage; both double from stage to stage.
      stages: blocks of each of the four stages.
      windows: side of the attention windows in each stage, in tokens.
      global_blocks: indices of blocks with global attention.
    """

    width: int
    heads: int
    stages: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]


LARGE = HieraSize(width=144, heads=2, stages=(2, 6, 36, 4), windows=(8, 4, 16, 8), global_blocks=(23, 33, 43))
TINY = HieraSize(width=96, heads=1, stages=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9))


class HieraEncoder(nn.Module):
    """Encoder of 1024 x 1024 images into features at strides 4, 8 and 16."""

    def __init__(self, size: HieraSize = LARGE) -> None:
        super().__init__()
        self.trunk = _HieraTrunk(size)
        self.neck = _FpnNeck([size.width << stage for stage in (3, 2, 1, 0)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of (n, 3, h, w) images at strides 4, 8 and 16.

        Each is (n, 256, h / stride, w / stride).
        """
        features: list[Tensor] = self.neck(self.trunk(images))
        return features[:3]


class _HieraTrunk(nn.Module):
    def __init__(self, size: HieraSize) -> None:
        super().__init__()
        self.patch_embed = _HieraPatchEmbed(size.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, size.width, BACKGROUND_GRID, BACKGROUND_GRID))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, size.width, size.windows[0], size.windows[0]))
        self.blocks = nn.ModuleList()
        self._ends: list[int] = []
        self._positions: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}
        for stage, count in enumerate(size.stages):
            for index in range(count):
                number = len(self.blocks)
                is_first = index == 0 and stage > 0
                # The first block of a stage keeps the windows of the previous stage and pools queries.
                window = 0 if number in size.global_blocks else size.windows[stage - 1 if is_first else stage]
                width = size.width << stage
                self.blocks.append(
                    _HieraBlock(width >> 1 if is_first else width, width, size.heads << stage, window, is_first)
                )
            self._ends.append(len(self.blocks) - 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(images)
        tokens = tokens + self._position((tokens.shape[1], tokens.shape[2]))
        found = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self._ends:
                found.append(tokens.permute(0, 3, 1, 2))
        return found

    def _position(self, grid: tuple[int, int]) -> Tensor:
        key = (*grid, self.pos_embed.dtype, self.pos_embed.device)
        if key not in self._positions:
            wide = F.interpolate(self.pos_embed.float(), grid, mode="bicubic")
            repeats = [whole // part for whole, part in zip(wide.shape, self.pos_embed_window.shape, strict=True)]
            position = (wide + self.pos_embed_window.float().tile(repeats)).permute(0, 2, 3, 1)
            self._positions[key] = position.to(self.pos_embed.dtype).detach()
        return self._positions[key]


class _HieraPatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 7, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1)


class _HieraBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, heads: int, window: int, halves: bool) -> None:
        super().__init__()
        self.window = window
        self.halves = halves
        self.norm1 = nn.LayerNorm(inputs, eps=1e-6)
        self.attn = _HieraAttention(inputs, outputs, heads, halves)
        self.norm2 = nn.LayerNorm(outputs, eps=1e-6)
        self.mlp = _HieraMlp(outputs)
        if inputs != outputs:
            self.proj = nn.Linear(inputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm1(tokens)
        skip = _halve(self.proj(normal)) if self.halves else tokens
        height, width = skip.shape[1:3]
        if self.window:
            mixed = _from_windows(
                self.attn(_to_windows(normal, self.window)),
                self.window >> 1 if self.halves else self.window,
                (height, width),
            )
        else:
            mixed = self.attn(normal)
        tokens = skip + mixed
        return tokens + self.mlp(self.norm2(tokens))


class _HieraAttention(nn.Module):
    def __init__(self, inputs: int, outputs: int, heads: int, halves: bool) -> None:
        super().__init__()
        self.heads = heads
        self.halves = halves
        self.qkv = nn.Linear(inputs, 3 * outputs)
        self.proj = nn.Linear(outputs, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        n, height, width, _ = tokens.shape
        query, key, value = self.qkv(tokens).view(n, height * width, 3, self.heads, -1).unbind(2)
        if self.halves:
            query = _halve(query.reshape(n, height, width, -1))
            height, width = query.shape[1:3]
            query = query.reshape(n, height * width, self.heads, -1)
        mixed = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (query, key, value)))
        return self.proj(mixed.transpose(1, 2).reshape(n, height, width, -1))


class _HieraMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.Linear(width, 4 * width), nn.Linear(4 * width, width)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers[1](F.gelu(self.layers[0](tokens)))


class _FpnNeck(nn.Module):
    """Feature pyramid of one width.

    Only the deepest level is added to the one above.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Lateral(width) for width in widths)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found = [lateral(level) for lateral, level in zip(self.convs, reversed(levels), strict=True)][::-1]
        found[2] = found[2] + F.interpolate(found[3], scale_factor=2.0, mode="nearest")
        return found


class _Lateral(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, PYRAMID_WIDTH, 1)

    def forward(self, level: Tensor) -> Tensor:
        return self.conv(level)


def _halve(tokens: Tensor) -> Tensor:
    """Max pooling by 2 of channels-last features."""
    return F.max_pool2d(tokens.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _to_windows(tokens: Tensor, side: int) -> Tensor:
    """Windows of channels-last features, zero-padded at the right and bottom."""
    n, height, width, channels = tokens.shape
    bottom, right = -height % side, -width % side
    if bottom or right:
        tokens = F.pad(tokens, (0, 0, 0, right, 0, bottom))
    tokens = tokens.view(n, (height + bottom) // side, side, (width + right) // side, side, channels)
    return tokens.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, channels)


def _from_windows(windows: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Tokens (n, height, width, c) from windows, without the padding."""
    height, width = size
    rows, columns = -(-height // side), -(-width // side)
    tokens = windows.view(-1, rows, columns, side, side, windows.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(-1, rows * side, columns * side, windows.shape[-1])[:, :height, :width]
