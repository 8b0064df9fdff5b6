"""Pairwise and per-frame losses of consistent video depth (CVD).

Kopf et al. 2021; MegaSaM, Li et al. 2025.

What is constant during the optimization is computed once. Filters are products with banded matrices, which include the
border handling. The pairwise loss is one CUDA kernel where it is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.flow.raft_clip import ClipFlow
from models.networks.pixels import pixel_grid
from native.cuda import kernels
from native.cuda.library import usable_for

LOG_WEIGHT = 0.25
FLOW_WEIGHT = 0.2
MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 1e-3, 1e3
MAX_SEEN_INVERSE_DEPTH = 1e2
MIN_DEPTH, MAX_DEPTH = 0.1, 1e3
MIN_CONFIDENCE, MAX_CONFIDENCE = 1e-4, 1e3
BLUR_SIGMA_PX, BLUR_RADIUS = 2.0, 2
EDGE_STEEPNESS, SMOOTH_SHARE, EDGE_WEIGHT = 10.0, 0.2, 0.2
GRADIENT_SCALES = (1, 2, 4, 8)
GRADIENT_STEEPNESS = 5.0
NEAR_INVERSE_DEPTH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairGeometry:
    """Relative poses, intrinsics and optical flow of frame pairs, at half size.

    Attributes:
      flow: optical flow of the pairs, which are sorted by first frame.
      first_pair: (t + 1,) int64 index of each frame's first pair.
      motion: (p, 12) float32 `second_from_first`: R K^-1 row by row, then translation.
      camera: (4,) float32 fx fy cx cy in px of the reduced size.
    """

    flow: ClipFlow
    first_pair: Tensor
    motion: Tensor
    camera: Tensor

    @classmethod
    def from_cameras(cls, flow: ClipFlow, rotation: Tensor, translation: Tensor, camera: Tensor) -> PairGeometry:
        """From `cam_from_world` rotations and translations, and intrinsics.

        Rotation (t, 3, 3), translation (t, 3), fx fy cx cy; all float64.
        """
        fx, fy, cx, cy = camera.tolist()
        inverse = camera.new_tensor([[1 / fx, 0, -cx / fx], [0, 1 / fy, -cy / fy], [0, 0, 1]])
        relative = rotation[flow.second] @ rotation[flow.first].transpose(1, 2)
        shift = translation[flow.second] - (relative @ translation[flow.first][..., None])[..., 0]
        counts = torch.bincount(flow.first, minlength=len(rotation))
        return cls(
            flow=flow,
            first_pair=functional.pad(counts.cumsum(0), (1, 0)),
            motion=torch.cat([(relative @ inverse).flatten(1), shift], 1).float(),
            camera=camera.float(),
        )


def pair_loss(inverse_depth: Tensor, confidence: Tensor, pairs: PairGeometry) -> Tensor:
    """Depth and flow residuals of all pairs, weighted by confidence.

    Args:
      inverse_depth: (t, h, w) float32 from `MIN_INVERSE_DEPTH` to `MAX_INVERSE_DEPTH`.
      confidence: (t, h, w) float32; a penalty on its negative logarithm keeps it from vanishing.
      pairs: geometry and flow of the pairs.
    """
    if usable_for(inverse_depth):
        return _FusedPairLoss.apply(inverse_depth, confidence, pairs)
    ratio, error, counted = pair_residuals(inverse_depth, pairs, slice(None))
    u = confidence[pairs.flow.first]
    penalty = LOG_WEIGHT * -u.log()
    loss = ratio * u + penalty + FLOW_WEIGHT * (error.abs().sum(-1) * u / 2 + penalty)
    return (loss * counted).sum() / (counted.sum() + 1e-8)


def pair_residuals(inverse_depth: Tensor, pairs: PairGeometry, chosen: slice | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals of pairs, at the pixels of their first frames.

    Args:
      inverse_depth: (t, h, w).
      pairs: geometry and flow of the pairs.
      chosen: indices of the pairs.

    Returns:
      (p, h, w) depth residual: larger over smaller of the reprojected depth and the second frame's own, minus 1;
      (p, h, w, 2) flow residual: reprojection minus flow target, in px; (p, h, w) 1 where both count, else 0.
    """
    flow, motion = pairs.flow, pairs.motion[chosen]
    first, second = flow.first[chosen], flow.second[chosen]
    height, width = inverse_depth.shape[1:]
    grid = pixel_grid(height, width, inverse_depth.device).to(inverse_depth.dtype)
    targets = grid + flow.flow_px[chosen]
    size = grid.new_tensor([width - 1, height - 1])
    seen = functional.grid_sample(inverse_depth[second][:, None], 2 * targets / size - 1, align_corners=True)[:, 0]
    seen = seen.clamp(MIN_INVERSE_DEPTH, MAX_SEEN_INVERSE_DEPTH)
    turn, shift = motion[:, :9].reshape(-1, 3, 3), motion[:, 9:]
    pixels = torch.cat([grid, torch.ones_like(grid[..., :1])], -1).reshape(-1, 3).T
    rays = (turn.to(pixels.dtype) @ pixels).reshape(-1, 3, height, width)
    x, y, z = (rays / inverse_depth[first][:, None] + shift.to(pixels.dtype)[..., None, None]).unbind(1)
    expected = 1 / z.clamp(MIN_DEPTH, MAX_DEPTH)
    fx, fy, cx, cy = pairs.camera
    far = z.clamp(MIN_INVERSE_DEPTH, MAX_DEPTH)
    projected = torch.stack([(fx * x + cx * z) / far, (fy * y + cy * z) / far], -1)
    counted = (flow.is_consistent[chosen] & (z > MIN_DEPTH)).to(pixels.dtype)
    return torch.maximum(seen / expected, expected / seen) - 1, projected - targets, counted


@torch.no_grad()
def measure_consistency(inverse_depth: Tensor, static: Tensor, pairs: PairGeometry) -> tuple[Tensor, Tensor]:
    """Consistency of depth, poses and flow, without ground truth.

    Args:
      inverse_depth: (t, h, w).
      static: (t, h, w) bool, pixels that count for the flow residual.
      pairs: geometry and flow of the pairs.

    Returns:
      (t, h, w) mean relative depth residual over a pixel's pairs, NaN where no pair counts; (t,) median flow residual
      in px over static pixels, mean over the pairs that begin in a frame, NaN where unknown.
    """
    starts, targets = pairs.first_pair[:-1], pairs.first_pair[1:]
    total, count = torch.zeros_like(inverse_depth), torch.zeros_like(inverse_depth)
    residuals = []
    for rank in range(int((targets - starts).max())):
        frames = torch.nonzero(starts + rank < targets)[:, 0]
        ratio, error, counted = pair_residuals(inverse_depth, pairs, starts[frames] + rank)
        total[frames] += ratio * counted
        count[frames] += counted
        length = torch.linalg.vector_norm(error, dim=-1)
        length = torch.where((counted > 0) & static[frames], length, torch.nan)
        residual = torch.full_like(inverse_depth[:, 0, 0], torch.nan)
        residual[frames] = length.flatten(1).nanmedian(1).values
        residuals.append(residual)
    return torch.where(count > 0, total / count, torch.nan), torch.stack(residuals).nanmean(0)


class _FusedPairLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inverse_depth: Tensor, confidence: Tensor, pairs: PairGeometry) -> Tensor:
        flow = pairs.flow
        loss, by_depth, by_confidence = kernels.pair_loss(
            inverse_depth,
            confidence,
            flow.flow_px,
            flow.is_consistent.view(torch.uint8),
            pairs.motion,
            flow.second,
            pairs.first_pair,
            pairs.camera,
            FLOW_WEIGHT,
        )
        ctx.save_for_backward(by_depth, by_confidence)
        return loss.float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        by_depth, by_confidence = ctx.saved_tensors
        return gradient * by_depth, gradient * by_confidence, None


class FrameLosses:
    """Per-frame losses of inverse depth against a reference map.

    The reference is (t, h, w), the camera (4,) fx fy cx cy.
    """

    def __init__(self, reference: Tensor, camera: Tensor) -> None:
        _, height, width = reference.shape
        self._blur = tuple(_gaussian(n, reference) for n in (height, width))
        self._slope = tuple(_band(n, (-1.0, 0.0, 1.0), "replicate", reference) for n in (height, width))
        self._smooth = tuple(_band(n, (1.0, 2.0, 1.0), "replicate", reference) for n in (height, width))
        fx, fy, cx, cy = camera.to(reference.dtype)
        u, v = (pixel_grid(height, width, reference.device).to(reference.dtype) + 0.5).unbind(-1)
        self._rays = torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones_like(u)])
        steepness = torch.sqrt(sum(part**2 for part in self._gradient(reference)))
        self._smoothness = EDGE_WEIGHT + (torch.exp(-EDGE_STEEPNESS * steepness) > SMOOTH_SHARE).to(reference.dtype)
        self.set_reference(reference)

    def set_reference(self, reference: Tensor) -> None:
        """Sets the maps that losses compare with; edge weights stay those of the initial maps."""
        self._log_reference = reference.log()
        self._reference_normals = self._normals(reference)

    def __call__(self, inverse_depth: Tensor, normal_weight: float, gradient_weight: float) -> Tensor:
        """Scale-invariant log error plus weighted normal and gradient errors.

        Inverse depth is (t, h, w). The log error is that of Eigen et al. 2014.
        """
        log_depth = inverse_depth.log()
        error = self._log_reference - log_depth
        invariant = ((error**2).mean((1, 2)) - error.mean((1, 2)) ** 2).mean()
        likeness = (self._normals(inverse_depth) * self._reference_normals).sum(1)
        normal = (self._smoothness * (1 - likeness)).mean()
        gradient = sum(self._gradient_loss(log_depth, -error, scale) for scale in GRADIENT_SCALES)
        return invariant + normal_weight * normal + gradient_weight * gradient

    def _gradient(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Sobel derivatives along x and y."""
        (slope_y, slope_x), (smooth_y, smooth_x) = self._slope, self._smooth
        return smooth_y @ maps @ slope_x.T, slope_y @ maps @ smooth_x.T

    def _normals(self, inverse_depth: Tensor) -> Tensor:
        """(t, 3, h, w) unit normals of the blurred surface."""
        blur_y, blur_x = self._blur
        depth = blur_y @ (1 / inverse_depth) @ blur_x.T
        along_x, along_y = self._gradient(depth[:, None] * self._rays)
        return functional.normalize(torch.linalg.cross(along_x, along_y, dim=1), dim=1)

    def _gradient_loss(self, log_depth: Tensor, difference: Tensor, scale: int) -> Tensor:
        """Gradient difference of near pixels at one scale, weighted by magnitude."""
        a, d = (_subsample(maps, scale) for maps in (log_depth, difference))
        d_x, d_y = _slopes(d)
        with torch.no_grad():
            own, other = (sum(part.abs() for part in _slopes(maps)) for maps in (a, a - d))
            weight = 1 - torch.exp(-GRADIENT_STEEPNESS * (own - other).abs())
            weight = weight * (a[:, 1:-1, 1:-1].exp() > NEAR_INVERSE_DEPTH)
        return (d_x.abs() * weight).mean() + (d_y.abs() * weight).mean()


def _subsample(maps: Tensor, scale: int) -> Tensor:
    """Subsampled maps: the middle pixel of each cell, as `nearest-exact` of PyTorch."""
    _, height, width = maps.shape
    return maps[:, scale // 2 :: scale, scale // 2 :: scale][:, : height // scale, : width // scale]


def _slopes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, without the border."""
    return maps[:, 1:-1, :-2] - maps[:, 1:-1, 2:], maps[:, :-2, 1:-1] - maps[:, 2:, 1:-1]


def _gaussian(size: int, like: Tensor) -> Tensor:
    taps = torch.exp(-(torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1.0) ** 2) / (2 * BLUR_SIGMA_PX**2))
    return _band(size, tuple((taps / taps.sum()).tolist()), "reflect", like)


def _band(size: int, taps: tuple[float, ...], border: str, like: Tensor) -> Tensor:
    """(size, size) banded matrix of a 1D filter."""
    matrix = torch.zeros(size, size, dtype=torch.float64)
    radius = len(taps) // 2
    for k, tap in enumerate(taps):
        at = torch.arange(size) + k - radius
        if border == "reflect":
            at = torch.where(at < 0, -at, torch.where(at >= size, 2 * (size - 1) - at, at))
        matrix.index_put_((torch.arange(size), at.clamp(0, size - 1)), matrix.new_tensor(tap), accumulate=True)
    return matrix.to(like.device, like.dtype)
