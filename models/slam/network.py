"""Tracking network of MegaSaM (Li et al. 2025) by its published parameter names.

It extends DROID-SLAM (Teed and Deng 2021): feature and context encoders, a convolutional GRU as update operator, and
heads for flow updates, confidence, damping and motion probability.
Half precision and channels-last on a GPU, single precision on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.arrays import Int64Array
from models.networks.layers import conv_relu, gated_mean, gru_gates, gru_state, norm_gelu, pad_channels

FEATURE_CHANNELS = 128
CORRELATION_CHANNELS = 196
STRIDE = 8
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
MAX_MOTION_PX = 64.0
ETA_SCALE = 0.01


class DroidResidualBlock(nn.Module):
    """Residual block: two 3 x 3 convolutions with norms."""

    def __init__(self, inputs: int, outputs: int, stride: int, normalized: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm = nn.InstanceNorm2d(outputs) if normalized else nn.Identity()
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.conv1(x)))
        y = functional.relu(self.norm(self.conv2(y)))
        skip = x if self.downsample is None else self.norm(self.downsample(x))
        return functional.relu(skip + y)


class DroidEncoder(nn.Module):
    """Encoder of normalized images into features at 1/8 resolution.

    From (n, 3, H, W) to (n, outputs, H / 8, W / 8).
    """

    def __init__(self, outputs: int, normalized: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, 2, 3)
        self.norm = nn.InstanceNorm2d(32) if normalized else nn.Identity()
        self.layer1 = self._stage(32, 32, 1, normalized)
        self.layer2 = self._stage(32, 64, 2, normalized)
        self.layer3 = self._stage(64, 128, 2, normalized)
        self.conv2 = nn.Conv2d(128, outputs, 1)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int, normalized: bool) -> nn.Sequential:
        return nn.Sequential(
            DroidResidualBlock(inputs, outputs, stride, normalized), DroidResidualBlock(outputs, outputs, 1, normalized)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv1(images)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class ConvGRU(nn.Module):
    """Weights of the convolutional GRU; `UpdateOperator` runs it in fewer, larger convolutions."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        for name in ("convz", "convr", "convq"):
            setattr(self, name, nn.Conv2d(448, c, 3, padding=1))
            setattr(self, f"{name}_glo", nn.Conv2d(c, c, 1))
        self.w = nn.Conv2d(c, c, 1)


class DampingHead(nn.Module):
    """Damping of a frame's inverse depths, from the hidden states of its edges (DROID-SLAM)."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.eta = nn.Sequential(nn.Conv2d(c, 1, 3, padding=1))
        self.upmask = nn.Sequential(nn.Conv2d(c, 576, 1))  # published, but unused

    def forward(self, net: Tensor, groups: EdgeGroups) -> Tensor:
        frames = groups.mean(conv_relu(net, self.conv1.weight, self.conv1.bias))
        eta = self.eta(conv_relu(frames, self.conv2.weight, self.conv2.bias))
        return ETA_SCALE * functional.softplus(eta.float())[:, 0]


class StaticHead(nn.Module):
    """Static probability of each pixel of an edge: MegaSaM's motion probability head."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        self.conv0 = nn.Conv2d(2 * c + 2, c, 3, padding=1)
        for k in (1, 3, 5):
            setattr(self, f"conv{k}", nn.Conv2d(c, c, 3, padding=1))
        for k in (0, 1, 3, 5):
            setattr(self, f"norm_{k}", nn.LayerNorm(c))
        # Published, but unused.
        self.conv4, self.norm_4 = nn.Conv2d(c + 1, c + 1, 3, padding=1), nn.LayerNorm(c + 1)
        self.eta = nn.Sequential(nn.Conv2d(c + 1, c, 3, padding=1), nn.GELU(), nn.Conv2d(c, 1, 3, padding=1))
        self.logits_2 = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.GELU(), nn.Conv2d(c, 1, 3, padding=1))
        self._merged: dict[str, Tensor] = {}
        self._norms: dict[int, tuple[Tensor, Tensor]] = {}
        self._biases: dict[int, Tensor] = {}

    def merge_weights(self) -> None:
        """Splits the spatial mean off the first convolution.

        Its part is equal at all inner pixels.
        """
        c = FEATURE_CHANNELS
        weight = self.conv0.weight
        taps = weight[:, c : 2 * c].float()
        rows = [taps[:, :, 1:].sum(2), taps.sum(2), taps[:, :, :-1].sum(2)]
        positions = [part for row in rows for part in (row[..., 1:].sum(2), row.sum(2), row[..., :-1].sum(2))]
        own = pad_channels(torch.cat([weight[:, :c], weight[:, 2 * c :]], 1))
        self._merged = {
            "own": own.contiguous(memory_format=torch.channels_last),
            "positions": torch.cat(positions),
            "bias": self.conv0.bias.float(),
        }
        norms = {k: getattr(self, f"norm_{k}") for k in (0, 1, 3, 5)}
        self._norms = {k: (norm.weight.float(), norm.bias.float()) for k, norm in norms.items()}
        self._biases = {k: getattr(self, f"conv{k}").bias.float() for k in (1, 3, 5)}

    def forward(self, net: Tensor, weight: Tensor, groups: EdgeGroups) -> Tensor:
        mean = net.mean((2, 3), dtype=torch.float32)
        bias = (mean @ self._merged["positions"].T).unflatten(1, (9, -1)) + self._merged["bias"]
        own = pad_channels(torch.cat([net, weight], 1))
        x = norm_gelu(functional.conv2d(own, self._merged["own"], padding=1), bias, *self._norms[0])
        for k in (1, 3):
            x = norm_gelu(self._convolve(k, x), self._biases[k], *self._norms[k], x)
        frames = norm_gelu(self._convolve(5, groups.mean(x)), self._biases[5], *self._norms[5])
        return torch.sigmoid(self.logits_2(x + groups.expand(frames)))

    def _convolve(self, k: int, x: Tensor) -> Tensor:
        return functional.conv2d(x, getattr(self, f"conv{k}").weight, padding=1)


class EdgeGroups:
    """Edges grouped by source frame: means over groups, and expansion back to edges.

    Attributes:
      frames: (g,) int64 sorted source frames.
      member: (e,) int64 index of each edge's source in `frames`.
    """

    def __init__(self, source: Int64Array, device: torch.device | str) -> None:
        frames, member, counts = np.unique(source, return_inverse=True, return_counts=True)
        share = np.zeros((len(frames), len(source)), np.float32)
        share[member, np.arange(len(source))] = 1 / counts[member]
        self.frames = torch.from_numpy(frames).to(device, non_blocking=True)
        self.member = torch.from_numpy(member).to(device, non_blocking=True)
        self._average = torch.from_numpy(share).to(device, non_blocking=True)

    def mean(self, x: Tensor) -> Tensor:
        """Group means (g, c, h, w) of (e, c, h, w).

        By a matrix product, which is deterministic, unlike scatter.
        """
        rows = x.permute(0, 2, 3, 1)
        mean = self._average.to(x.dtype) @ rows.reshape(len(x), -1)
        return mean.reshape(-1, *rows.shape[1:]).permute(0, 3, 1, 2)

    def expand(self, x: Tensor) -> Tensor:
        """Values (e, ...) of each edge's group, from (g, ...)."""
        return x[self.member]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowUpdate:
    """Output of the update operator for edges (i, j).

    Attributes:
      net: (e, 128, h, w) new hidden state.
      delta_px: (e, h, w, 2) float32 flow update, in px of the features.
      weight: (e, h, w, 2) float32 confidence from 0 to 1.
      static: (e, h, w) float32 static probability, 0 to 1; none without groups.
      eta: (g, h, w) float32 damping of the groups' frames; none without groups.
    """

    net: Tensor
    delta_px: Tensor
    weight: Tensor
    static: Tensor | None = None
    eta: Tensor | None = None


class UpdateOperator(nn.Module):
    """Update operator (DROID-SLAM): one GRU step for each edge.

    Context features are equal in all steps and for all edges of a frame, so their terms of the GRU gates are computed
    once a frame (`context_terms`).
    """

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        self.corr_encoder = _pair(CORRELATION_CHANNELS, 1, c)
        self.flow_encoder = _pair(4, 7, 64)
        self.gru = ConvGRU()
        self.weight = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, 2, 3, padding=1))
        self.delta = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, 2, 3, padding=1))
        self.agg, self.agg_motion = DampingHead(), StaticHead()
        self._merged: dict[str, Tensor] = {}

    def merge_weights(self) -> None:
        """Merges convolutions of the same input; call it after weights have changed or moved."""
        gru, c = self.gru, FEATURE_CHANNELS
        gates = [gru.convz.weight, gru.convr.weight, gru.convq.weight]
        glo = (gru.convz_glo, gru.convr_glo, gru.convq_glo)
        heads = (self.weight, self.delta)
        last = torch.zeros_like(torch.cat([head[2].weight for head in heads])).repeat(1, 2, 1, 1)
        last[:2, :c], last[2:, c:] = self.weight[2].weight, self.delta[2].weight
        merged = {
            "correlation": pad_channels(self.corr_encoder[0].weight),
            "motion": pad_channels(self.flow_encoder[0].weight),
            "context": torch.cat([w[:, c : 2 * c] for w in gates]),
            "inputs": torch.cat([w[:, 2 * c :] for w in gates]),
            "net": torch.cat([w[:, :c] for w in gates[:2]]),
            "reset": gates[2][:, :c],
            "heads": torch.cat([head[0].weight for head in heads]),
            "last": last,
        }
        self._merged = {name: w.contiguous(memory_format=torch.channels_last) for name, w in merged.items()}
        self._merged |= {
            "context_bias": torch.cat([gru.convz.bias, gru.convr.bias, gru.convq.bias]),
            "w_bias": gru.w.bias.float(),
            "glo": torch.cat([m.weight for m in glo])[:, :, 0, 0].float(),
            "glo_bias": torch.cat([m.bias for m in glo]).float(),
            "heads_bias": torch.cat([head[0].bias for head in heads]),
            "last_bias": torch.cat([head[2].bias for head in heads]),
        }
        self.agg_motion.merge_weights()

    def context_terms(self, context: Tensor) -> Tensor:
        """Terms of the GRU gates from context features.

        From (f, 128, h, w) to (f, 384, h, w).
        """
        return functional.conv2d(context, self._merged["context"], self._merged["context_bias"], padding=1)

    def forward(
        self,
        net: Tensor,
        context: Tensor,
        source: Tensor,
        correlation: Tensor,
        motion: Tensor,
        groups: EdgeGroups | None = None,
    ) -> FlowUpdate:
        """One step of the update operator.

        Args:
          net: (e, 128, h, w) hidden state.
          context: (f, 384, h, w) terms of all frames from `context_terms`.
          source: (e,) int64 frames of the edges.
          correlation: (e, 200, h, w), see `correlate`.
          motion: (e, 4, h, w) induced flow and residual of the last target, within +-`MAX_MOTION_PX`.
          groups: edges by source frame; without them `static` and `eta` are not computed.
        """
        merged = self._merged
        inputs = torch.cat([self._encode_correlation(correlation), self._encode_motion(motion)], 1)
        net = self._gru_step(net, context, source, functional.conv2d(inputs, merged["inputs"], padding=1))
        heads = conv_relu(net, merged["heads"], merged["heads_bias"])
        outputs = functional.conv2d(heads, merged["last"], merged["last_bias"], padding=1)
        weight, delta = torch.sigmoid(outputs[:, :2]), outputs[:, 2:].permute(0, 2, 3, 1).float()
        static = None if groups is None else self.agg_motion(net, weight, groups)[:, 0].float()
        eta = None if groups is None else self.agg(net, groups)
        return FlowUpdate(net=net, delta_px=delta, weight=weight.permute(0, 2, 3, 1).float(), static=static, eta=eta)

    def _encode_correlation(self, correlation: Tensor) -> Tensor:
        first, second = self.corr_encoder[0], self.corr_encoder[2]
        return conv_relu(conv_relu(correlation, self._merged["correlation"], first.bias), second.weight, second.bias)

    def _encode_motion(self, motion: Tensor) -> Tensor:
        first, second = self.flow_encoder[0], self.flow_encoder[2]
        padded = pad_channels(motion).contiguous(memory_format=torch.channels_last)
        return conv_relu(conv_relu(padded, self._merged["motion"], first.bias), second.weight, second.bias)

    def _gru_step(self, net: Tensor, context: Tensor, source: Tensor, inputs: Tensor) -> Tensor:
        merged = self._merged
        mean = gated_mean(functional.conv2d(net, self.gru.w.weight), merged["w_bias"], net)
        common = functional.linear(mean, merged["glo"], merged["glo_bias"])
        own = functional.conv2d(net, merged["net"], padding=1)
        update, reset_net = gru_gates(own, inputs, context, source, common, net)
        own = functional.conv2d(reset_net, merged["reset"], padding=1)
        return gru_state(own, inputs, context, source, common, update, net)


def _pair(inputs: int, size: int, outputs: int) -> nn.Sequential:
    middle = nn.Conv2d(inputs, FEATURE_CHANNELS, size, padding=size // 2)
    return nn.Sequential(middle, nn.ReLU(), nn.Conv2d(FEATURE_CHANNELS, outputs, 3, padding=1), nn.ReLU())


class TrackingNetwork(nn.Module):
    """MegaSaM's network; make one with `build_tracking_network` or `load_tracking_network`."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = DroidEncoder(FEATURE_CHANNELS, normalized=True)
        self.cnet = DroidEncoder(2 * FEATURE_CHANNELS, normalized=False)
        self.update = UpdateOperator()

    @property
    def dtype(self) -> torch.dtype:
        return self.fnet.conv1.weight.dtype

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, hidden state and context of RGB images.

        Features and state (n, 128, h, w), context (n, 384, h, w); images (n, 3, H, W) uint8.
        """
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
        normalized = ((images.float() / 255 - mean) / std).to(self.dtype)
        net, context = self.cnet(normalized.contiguous(memory_format=torch.channels_last)).split(FEATURE_CHANNELS, 1)
        return self.fnet(normalized), torch.tanh(net), self.update.context_terms(functional.relu(context))


def build_tracking_network(
    state: dict[str, Tensor] | None, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> TrackingNetwork:
    """Network with published weights; with none, torch's random initialization.

    Args:
      state: keys with or without `module.`; the heads `delta` and `weight` may have a third row, which is dropped.
      device: of the network.
      dtype: of weights and features; by default float16 on a GPU and float32 elsewhere.

    Raises:
      ValueError: names the keys that are missing, unknown or of another shape.
    """
    network = TrackingNetwork()
    if state is not None:
        state = {key.replace("module.", ""): value for key, value in state.items()}
        for key in [f"update.{head}.2.{kind}" for head in ("weight", "delta") for kind in ("weight", "bias")]:
            state[key] = state[key][:2] if key in state else state.get(key)
        try:
            network.load_state_dict({key: value for key, value in state.items() if value is not None})
        except RuntimeError as error:
            raise ValueError(f"not the weights of MegaSaM's tracker: {error}") from error
    device = torch.device(device)
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    network.requires_grad_(False).eval().to(device, dtype)
    for part in (network.cnet, network.update):  # instance norm is slower in channels-last
        part.to(memory_format=torch.channels_last)
    network.update.merge_weights()
    return network


def load_tracking_network(
    path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> TrackingNetwork:
    """Network from `megasam_final.pth`; no code of the file runs. See `build_tracking_network`."""
    return build_tracking_network(torch.load(path, map_location="cpu", weights_only=True), device, dtype)
