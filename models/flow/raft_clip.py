"""Flow between frames of a clip that are one to fifteen frames apart, and where it can be trusted.

Each frame is encoded once. Pairs of a step are refined together, forth and back, from the flow over the step before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.flow.raft import RADIUS, RaftNetwork
from models.networks.correlation import FeaturePyramid, look_up, make_volume
from models.networks.pixels import pixel_grid

STEPS = (1, 2, 4, 8, 15)
ITERATIONS = 22
MAX_ERROR_PX = 1.0
ENCODER_BATCH = 16
PAIRS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFlow:
    """Flow of p pairs of frames at half the pictures' size.

    Attributes:
      first, second: (p,) int64 frames; the pairs are sorted by first frame.
      flow_px: (p, H / 2, W / 2, 2) float16 from first to second, in px of that size.
      is_consistent: (p, H / 2, W / 2) bool: there and back ends within a pixel.
    """

    first: Tensor
    second: Tensor
    flow_px: Tensor
    is_consistent: Tensor


@torch.no_grad()
def estimate_clip_flow(network: RaftNetwork, images: Tensor, iterations: int = ITERATIONS) -> ClipFlow:
    """Flow of all pairs of a clip.

    Args:
      network: on the device where it shall run.
      images: (t, 3, H, W) uint8 RGB, t at least 2, H and W multiples of 8 and at least 64.
      iterations: refinements of each pair.
    """
    device = network.fnet.conv1.weight.device
    parts = [network.encode(batch.to(device)) for batch in images.split(ENCODER_BATCH)]
    features, net, context = (torch.cat(part) for part in zip(*parts, strict=True))
    pyramid = FeaturePyramid.from_features(features)
    forth = torch.zeros(len(images), 2, pyramid.height, pyramid.width, device=device)
    back = forth.clone()
    found = []
    for step in STEPS:
        for start in range(0, len(images) - step, PAIRS_AT_ONCE):
            i = torch.arange(start, min(start + PAIRS_AT_ONCE, len(images) - step), device=device)
            j = i + step
            source, target = torch.cat([i, j]), torch.cat([j, i])
            begin = torch.cat([forth[i], back[j]])
            flow, hidden = _refine(network, pyramid, net, context, source, target, begin, iterations)
            half = _halve(network.update_block.upsample(flow, hidden))
            found.append((i, j, half[: len(i)].half(), is_consistent(*half.split(len(i)))))
            # Pairs of one step do not meet again in it, but their flow starts the next step.
            forth[i], back[j] = flow.split(len(i))
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
    """Flow (n, 2, h, w) float32 in px of the features, and the last hidden state, from those of all frames."""
    net, context = net[source], context[source]
    volume = make_volume(pyramid, source, target)
    grid = pixel_grid(pyramid.height, pyramid.width, flow.device)
    for _ in range(iterations):
        correlation = look_up(volume, pyramid, grid + flow.permute(0, 2, 3, 1), RADIUS)
        net, change = network.update_block(net, context, correlation, flow.to(net.dtype))
        flow = flow + change.float()
    return flow, net


def _halve(flow: Tensor) -> Tensor:
    """(n, 2, H, W) to (n, 2, H / 2, W / 2), in px of that size."""
    return functional.avg_pool2d(flow, 2) / 2


def is_consistent(forth: Tensor, back: Tensor) -> Tensor:
    """(n, h, w) whether the flow back, where the flow forth ends, leads to where that began; outside it is zero."""
    _, _, height, width = forth.shape
    ends = pixel_grid(height, width, forth.device) + forth.permute(0, 2, 3, 1)
    size = torch.tensor([width - 1, height - 1], device=forth.device)
    warped = functional.grid_sample(back, 2 * ends / size - 1, align_corners=True)
    return torch.linalg.vector_norm(forth + warped, dim=1) < MAX_ERROR_PX
