"""MoGe-2 (Wang et al. 2025): point map, mask and metric scale of an image.

By its published parameter names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.networks.dinov2 import MEAN_RGB, PATCH_PX, STD_RGB, VIT_SIZES, DinoV2

NUM_LEVELS = 5
BACKBONES = {"dinov2_vits14": "vits", "dinov2_vitb14": "vitb", "dinov2_vitl14": "vitl"}


class MoGe2(nn.Module):
    """Network for an affine-invariant point map, a validity mask and the metric scale.

    Args:
      config: mapping that is stored beside the published weights.

    Raises:
      ValueError: for options that published MoGe-2 models do not use.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        if config["remap_output"] != "exp" or config["encoder"]["backbone"] not in BACKBONES:
            raise ValueError(f"not a MoGe-2 model: {config['remap_output']!r}, {config['encoder']['backbone']!r}")
        least, most = config["num_tokens_range"]
        self.num_tokens_range = (int(least), int(most))
        self.encoder = _MoGeEncoder(config["encoder"])
        self.neck = _ConvStack(config["neck"])
        self.points_head = _ConvStack(config["points_head"])
        self.mask_head = _ConvStack(config["mask_head"])
        dims = config["scale_head"]["dims"]
        layers: list[nn.Module] = [m for pair in pairwise(dims[:-1]) for m in (nn.Linear(*pair), nn.ReLU())]
        self.scale_head = nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1]))

    def forward(self, images: Tensor, num_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """Point map, mask and scale of images.

        Args:
          images: (n, 3, h, w) RGB, 0 to 1.
          num_tokens: approximate number of patches of an image.

        Returns:
          Points (n, h, w, 3) before shift and scale, mask (n, h, w) 0 to 1, meters per unit (n,).
        """
        height, width = images.shape[-2:]
        aspect = width / height
        grid = (round((num_tokens / aspect) ** 0.5), round((num_tokens * aspect) ** 0.5))
        features, token = self.encoder(images, grid)
        levels = []
        for level in range(NUM_LEVELS):
            uv = view_plane(grid[1] << level, grid[0] << level, aspect, features).permute(2, 0, 1)
            uv = uv.expand(len(images), -1, -1, -1)
            levels.append(torch.cat((features, uv), dim=1) if level == 0 else uv)
        levels = self.neck(levels)
        points, mask = (
            F.interpolate(head(levels)[-1], (height, width), mode="bilinear").float()
            for head in (self.points_head, self.mask_head)
        )
        depth = points[:, 2:].exp()
        points = torch.cat((points[:, :2] * depth, depth), dim=1).permute(0, 2, 3, 1)
        return points, mask[:, 0].sigmoid(), self.scale_head(token)[:, 0].float().exp()

    def prepare(self, dtype: torch.dtype) -> MoGe2:
        """Prepares the loaded network for inference: layer scales folded, one dtype, channels-last."""
        self.encoder.backbone.fold_scales()
        return self.eval().requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)


def view_plane(width: int, height: int, aspect: float, like: Tensor) -> Tensor:
    """(height, width, 2) view-plane x, y of pixel centers.

    In units of half the image diagonal.
    """
    diagonal = (1 + aspect**2) ** 0.5
    spans = ((aspect / diagonal, width), (1 / diagonal, height))
    axes = [
        torch.linspace(-s * (n - 1) / n, s * (n - 1) / n, n, dtype=like.dtype, device=like.device) for s, n in spans
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)


class _MoGeEncoder(nn.Module):
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = VIT_SIZES[BACKBONES[config["backbone"]]]
        taps = config["intermediate_layers"]
        self.taps = list(range(size.depth - taps, size.depth)) if isinstance(taps, int) else list(taps)
        self.backbone = DinoV2(size)
        self.output_projections = nn.ModuleList(nn.Conv2d(size.width, config["dim_out"], 1) for _ in self.taps)
        self.register_buffer("image_mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(STD_RGB).view(1, 3, 1, 1))

    def forward(self, images: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        size = (grid[0] * PATCH_PX, grid[1] * PATCH_PX)
        resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        resized = ((resized - self.image_mean) / self.image_std).to(self.backbone.cls_token.dtype)
        found = self.backbone(resized, self.taps)
        maps = [
            project(tokens.unflatten(1, grid).permute(0, 3, 1, 2))
            for project, (tokens, _) in zip(self.output_projections, found, strict=True)
        ]
        return torch.stack(maps).sum(dim=0), found[-1][1]


class _ConvStack(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths: Sequence[int] = config["dim_res_blocks"]
        inputs, outputs = (
            value if isinstance(value, Sequence) else [value] * len(widths)
            for value in (config["dim_in"], config["dim_out"])
        )
        counts, resamplers = config["num_res_blocks"], config["resamplers"]
        counts = counts if isinstance(counts, Sequence) else [counts] * len(widths)
        resamplers = [resamplers] * (len(widths) - 1) if isinstance(resamplers, str) else resamplers
        norms = (config.get("res_block_in_norm", "layer_norm"), config.get("res_block_hidden_norm", "group_norm"))
        if norms != ("none", "none"):
            raise ValueError(f"MoGe-2 models have no norms in their convolutions, this one has {norms}")
        self.input_blocks = nn.ModuleList(_maybe_conv(a, b) for a, b in zip(inputs, widths, strict=True))
        self.resamplers = nn.ModuleList(
            _resampler(a, b, kind) for (a, b), kind in zip(pairwise(widths), resamplers, strict=True)
        )
        hidden = config.get("dim_times_res_block_hidden", 1)
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(_ResidualConvBlock(width, hidden * width) for _ in range(count)))
            for width, count in zip(widths, counts, strict=True)
        )
        self.output_blocks = nn.ModuleList(_maybe_conv(a, b) for a, b in zip(widths, outputs, strict=True))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found = []
        path: Tensor | None = None
        for index, level in enumerate(levels):
            entry = self.input_blocks[index](level)
            path = entry if path is None else path + entry
            path = self.res_blocks[index](path)
            found.append(self.output_blocks[index](path))
            if index < len(self.resamplers):
                path = self.resamplers[index](path)
        return found


class _ResidualConvBlock(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # Indices as published: 0 and 3 would be norms.
        self.layers = nn.Sequential(
            nn.Identity(), nn.ReLU(), _conv(width, hidden), nn.Identity(), nn.ReLU(), _conv(hidden, width)
        )

    def forward(self, path: Tensor) -> Tensor:
        return path + self.layers(path)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


def _maybe_conv(inputs: int | None, outputs: int | None) -> nn.Module:
    return nn.Identity() if inputs is None or outputs is None else nn.Conv2d(inputs, outputs, 1)


def _resampler(inputs: int, outputs: int, kind: str) -> nn.Module:
    if kind == "conv_transpose":
        return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, 2), _conv(outputs, outputs))
    if kind == "bilinear":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), _conv(inputs, outputs))
    raise ValueError(f"MoGe-2 models resample by conv_transpose or bilinear, this one by {kind!r}")
