"""RAFT flow between frames of a clip one to fifteen apart, with forward-backward consistency.

Each frame is encoded once. The pairs of a step are refined together in both directions, starting from the flow of the
previous step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.flow.raft import RADIUS, RaftNetwork
from models.networks.correlation import FeaturePyramid, lookup, make_volume
from models.networks.pixels import pixel_grid

STEPS = (1, 2, 4, 8, 15)
ITERATIONS = 22
MAX_ERROR_PX = 1.0
ENCODER_BATCH = 16
PAIRS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFlow:
    """Flow of p pairs of frames at half the image size.

    Attributes:
      first, second: (p,) int64 frames; the pairs are sorted by first frame.
      flow_px: (p, H / 2, W / 2, 2) float16 from first to second, in px of that size.
      is_consistent: (p, H / 2, W / 2) bool: forward-backward error below a pixel.
    """

    first: Tensor
    second: Tensor
    flow_px: Tensor
    is_consistent: Tensor


@torch.no_grad()
def estimate_clip_flow(network: RaftNetwork, images: Tensor, iterations: int = ITERATIONS) -> ClipFlow:
    """Flow of all pairs of a clip.

    Args:
      network: on its device.
      images: (t, 3, H, W) uint8 RGB, t at least 2, H and W multiples of 8 and at least 64.
      iterations: updates of each pair.
    """
    device = network.fnet.conv1.weight.device
    parts = [network.encode(batch.to(device)) for batch in images.split(ENCODER_BATCH)]
    features, net, context = (torch.cat(part) for part in zip(*parts, strict=True))
    pyramid = FeaturePyramid.from_features(features)
    forward = torch.zeros(len(images), 2, pyramid.height, pyramid.width, device=device)
    backward = forward.clone()
    found = []
    for step in STEPS:
        for start in range(0, len(images) - step, PAIRS_AT_ONCE):
            i = torch.arange(start, min(start + PAIRS_AT_ONCE, len(images) - step), device=device)
            j = i + step
            source, target = torch.cat([i, j]), torch.cat([j, i])
            initial = torch.cat([forward[i], backward[j]])
            flow, hidden = _refine(network, pyramid, net, context, source, target, initial, iterations)
            half = _halve(network.update_block.upsample(flow, hidden))
            found.append((i, j, half[: len(i)].half(), is_consistent(*half.split(len(i)))))
            # No frame starts two pairs of a step, and this flow is the initial flow of the next step.
            forward[i], backward[j] = flow.split(len(i))
    first, second, flow_px, consistent = (torch.cat(part) for part in zip(*found, strict=True))
    order = torch.argsort(first * len(images) + second)
    return ClipFlow(
        first=first[order],
        second=second[order],
        flow_px=flow_px[order].permute(0, 2, 3, 1).contiguous(),
        is_consistent=consistent[order],
    )


def _refine(
    network: RaftNetwork,
    pyramid: FeaturePyramid,
    net: Tensor,
    context: Tensor,
    source: Tensor,
    target: Tensor,
    flow: Tensor,
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """Flow (n, 2, h, w) in px of the features, and the hidden state."""
    net, context = net[source], context[source]
    volume = make_volume(pyramid, source, target)
    grid = pixel_grid(pyramid.height, pyramid.width, flow.device)
    for _ in range(iterations):
        correlation = lookup(volume, pyramid, grid + flow.permute(0, 2, 3, 1), RADIUS)
        net, update = network.update_block(net, context, correlation, flow.to(net.dtype))
        flow = flow + update.float()
    return flow, net


def _halve(flow: Tensor) -> Tensor:
    """Flow at half the size, in px of that size."""
    return functional.avg_pool2d(flow, 2) / 2


def is_consistent(forward: Tensor, backward: Tensor) -> Tensor:
    """(n, h, w) forward-backward consistency of flows (n, 2, h, w).

    Backward flow is 0 outside the image.
    """
    _, _, height, width = forward.shape
    ends = pixel_grid(height, width, forward.device) + forward.permute(0, 2, 3, 1)
    size = torch.tensor([width - 1, height - 1], device=forward.device)
    warped = functional.grid_sample(backward, 2 * ends / size - 1, align_corners=True)
    return torch.linalg.vector_norm(forward + warped, dim=1) < MAX_ERROR_PX
