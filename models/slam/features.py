"""Features of a batch of clips' frames, and flow prediction of edges.

Frames are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.networks.correlation import FeaturePyramid, correlate
from models.networks.pixels import pixel_grid
from models.slam.network import MAX_MOTION_PX, EdgeGroups, FlowUpdate, TrackingNetwork

ENCODER_BATCH = 16


class FrameFeatures:
    """Features of f frames.

    Attributes:
      pyramid: matching features, for correlation.
      net: (f, 128, h, w) initial hidden state of edges.
      context: (f, 384, h, w) context features; see `UpdateOperator.context_terms`.
      grid: (h, w, 2) pixel coordinates.
    """

    def __init__(self, network: TrackingNetwork, images: Sequence[Tensor], device: torch.device) -> None:
        """Encodes RGB images, (t, 3, H, W) uint8 for each clip."""
        parts = [
            network.encode(batch.to(device, non_blocking=True))
            for clip in images
            for batch in clip.split(ENCODER_BATCH)
        ]
        features, net, context = zip(*parts, strict=True)
        self.pyramid = FeaturePyramid.from_features(torch.cat(features))
        self.net = torch.cat(net)
        self.context = torch.cat(context).contiguous(memory_format=torch.channels_last)
        self.grid = pixel_grid(self.pyramid.height, self.pyramid.width, device)


class FlowPredictor:
    """Flow prediction of edges by the network's update operator."""

    def __init__(self, network: TrackingNetwork, features: FrameFeatures) -> None:
        self.network, self.features = network, features

    def predict(
        self,
        source: Tensor,
        target: Tensor,
        net: Tensor,
        coords_px: Tensor,
        target_px: Tensor,
        groups: EdgeGroups | None,
    ) -> FlowUpdate:
        """One step of the update operator.

        Args:
          source, target: (e,) int64 frames i and j.
          net: (e, 128, h, w) hidden states.
          coords_px: (e, h, w, 2) float32 reprojected pixels of i in j.
          target_px: (e, h, w, 2) float32 observed pixels of the previous step.
          groups: edges by source frame; none to skip static probability and damping.
        """
        motion = torch.cat([coords_px - self.features.grid, target_px - coords_px], 3)
        motion = motion.clamp(-MAX_MOTION_PX, MAX_MOTION_PX).permute(0, 3, 1, 2).to(net.dtype)
        correlation = correlate(self.features.pyramid, source, target, coords_px)
        return self.network.update(net, self.features.context, source, correlation, motion, groups)
