"""Correlation volumes and lookup of RAFT and DROID-SLAM.

Teed and Deng 2020 and 2021.

Features of the second frame are pooled once a frame to four levels, and one matrix product on the tensor cores gives
all levels of an edge. The tracker recomputes volumes for each lookup: at 41 x 73 features one takes 24 MB an edge, and
computing it takes less time than moving stored volumes, so the number of edges is not limited.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.layers import pad_channels
from native.cuda import kernels
from native.cuda.library import usable_for

NUM_LEVELS = 4
RADIUS = 3
SCALE = 0.25
"""Factor of each feature map, so that products are divided by 16."""
MAX_VOLUME_BYTES = 1 << 30
ALIGNED_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class FeaturePyramid:
    """Feature pyramids of f frames.

    Attributes:
      rows: (f, p, c) pixels of level after level, row-major; the first h * w are the features. Zeros pad the end, so
        that rows of a volume are aligned.
      height, width: of the first level.
    """

    rows: Tensor
    height: int
    width: int

    @classmethod
    def from_features(cls, features: Tensor) -> FeaturePyramid:
        """Pyramids of features (f, c, h, w) by average pooling."""
        level = features * SCALE
        rows = [level.flatten(2)]
        for _ in range(NUM_LEVELS - 1):
            level = functional.avg_pool2d(level, 2)
            rows.append(level.flatten(2))
        height, width = features.shape[2:]
        flat = torch.cat(rows, 2).transpose(1, 2)
        return cls(functional.pad(flat, (0, 0, 0, -flat.shape[1] % ALIGNED_COLUMNS)).contiguous(), height, width)

    def levels(self) -> list[tuple[int, int, int]]:
        """Height, width and first row of each level."""
        levels, start = [], 0
        for k in range(NUM_LEVELS):
            height, width = self.height >> k, self.width >> k
            levels.append((height, width, start))
            start += height * width
        return levels


def correlate(pyramid: FeaturePyramid, source: Tensor, target: Tensor, coords_px: Tensor) -> Tensor:
    """Correlation of pixels in frames i with windows around their projections in j.

    Args:
      pyramid: of all frames.
      source, target: (e,) int64 frames i and j.
      coords_px: (e, h, w, 2) float32 projections (x, y) in j, in px of the features.

    Returns:
      (e, 200, h, w), channels-last: level after level, x offsets -3 to 3 outer, y offsets inner; 0 outside. The last
      four are zeros: tensor cores need a multiple of 8.
    """
    pixels = pyramid.height * pyramid.width
    bytes_per_edge = pixels * pyramid.rows.shape[1] * pyramid.rows.element_size()
    step = max(1, MAX_VOLUME_BYTES // bytes_per_edge)
    parts = []
    for i, j, coords in zip(source.split(step), target.split(step), coords_px.split(step), strict=True):
        volume = make_volume(pyramid, i, j)
        parts.append(lookup(volume, pyramid, coords))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def make_volume(pyramid: FeaturePyramid, source: Tensor, target: Tensor) -> Tensor:
    """Correlation volumes (e, p, columns) between frames i and j.

    Columns are all pixels and levels of frames j.
    """
    pixels = pyramid.height * pyramid.width
    return torch.bmm(pyramid.rows[source, :pixels], pyramid.rows[target].transpose(1, 2))


def lookup(volume: Tensor, pyramid: FeaturePyramid, coords_px: Tensor, radius: int = RADIUS) -> Tensor:
    """Windows (e, channels, h, w) of volumes around given coordinates.

    Volumes are (e, p, columns), coordinates (e, h, w, 2); see `correlate`.
    """
    shape, coords_px = coords_px.shape, coords_px.flatten(1, 2)
    if volume.dtype == torch.float16 and usable_for(volume):
        windows = kernels.look_up_correlation(volume, coords_px.contiguous(), pyramid.levels(), radius)
    else:
        windows = _lookup(volume, pyramid, coords_px, radius)
    return windows.unflatten(1, shape[1:3]).permute(0, 3, 1, 2)


def _lookup(volume: Tensor, pyramid: FeaturePyramid, coords_px: Tensor, radius: int) -> Tensor:
    """`lookup` on PyTorch: (e, p, channels) at (e, p, 2)."""
    offsets = torch.arange(-radius, radius + 2, device=volume.device)
    parts = []
    for k, (height, width, start) in enumerate(pyramid.levels()):
        center = (coords_px / 2**k).clamp(-1e4, 1e4)
        corner = center.floor()
        fx, fy = (center - corner).to(volume.dtype)[..., None, None].unbind(2)
        x, y = (corner.long()[..., None] + offsets).unbind(2)
        inside = ((x >= 0) & (x < width))[..., :, None] & ((y >= 0) & (y < height))[..., None, :]
        index = start + y.clamp(0, height - 1)[..., None, :] * width + x.clamp(0, width - 1)[..., :, None]
        values = volume.gather(2, index.flatten(2)).reshape(index.shape) * inside
        along_x = (1 - fx) * values[..., :-1, :] + fx * values[..., 1:, :]
        parts.append(((1 - fy) * along_x[..., :-1] + fy * along_x[..., 1:]).flatten(2))
    return pad_channels(torch.cat(parts, 2), 2)
