"""RAFT (Teed and Deng 2020), large, by the parameter names of `raft-things.pth`.

Half precision and channels-last on a GPU, single precision on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import conv_relu, pad_channels

STRIDE = 8
RADIUS = 4
HIDDEN = 128
CORRELATION_CHANNELS = 324
MASK_SCALE = 0.25


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels)


class RaftResidualBlock(nn.Module):
    """Residual block: two 3 x 3 convolutions with norms."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm1, self.norm2 = _norm(norm, outputs), _norm(norm, outputs)
        self.downsample = None
        if stride > 1:
            self.norm3 = _norm(norm, outputs)  # published under both names
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), self.norm3)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = functional.relu(self.norm2(self.conv2(y)))
        return functional.relu((x if self.downsample is None else self.downsample(x)) + y)


class RaftEncoder(nn.Module):
    """Encoder of images into features at 1/8 resolution.

    From (n, 3, H, W), -1 to 1, to (n, 256, H / 8, W / 8).
    """

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 64, 7, 2, 3), _norm(norm, 64)
        self.layer1 = nn.Sequential(RaftResidualBlock(64, 64, 1, norm), RaftResidualBlock(64, 64, 1, norm))
        self.layer2 = nn.Sequential(RaftResidualBlock(64, 96, 2, norm), RaftResidualBlock(96, 96, 1, norm))
        self.layer3 = nn.Sequential(RaftResidualBlock(96, 128, 2, norm), RaftResidualBlock(128, 128, 1, norm))
        self.conv2 = nn.Conv2d(128, 256, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(images)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """Motion encoder: correlation and flow to 128 channels, the last two the flow itself."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1, self.convc2 = nn.Conv2d(CORRELATION_CHANNELS, 256, 1), nn.Conv2d(256, 192, 3, padding=1)
        self.convf1, self.convf2 = nn.Conv2d(2, 128, 7, padding=3), nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(256, 126, 3, padding=1)
        self._first: dict[str, Tensor] = {}

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        c, f = correlation, pad_channels(flow).contiguous(memory_format=torch.channels_last)
        for layer, weight in ((self.convc1, self._first["c"]), (self.convc2, self.convc2.weight)):
            c = conv_relu(c, weight, layer.bias)
        for layer, weight in ((self.convf1, self._first["f"]), (self.convf2, self.convf2.weight)):
            f = conv_relu(f, weight, layer.bias)
        return torch.cat([conv_relu(torch.cat([c, f], 1), self.conv.weight, self.conv.bias), flow], 1)

    def merge_weights(self) -> None:
        """Pads weights with odd input channels; call it after weights have changed or moved."""
        weights = {"c": self.convc1.weight, "f": self.convf1.weight}
        padded = {name: pad_channels(weight) for name, weight in weights.items()}
        self._first = {name: w.contiguous(memory_format=torch.channels_last) for name, w in padded.items()}


class SeparableGRU(nn.Module):
    """Weights of the separable convolutional GRU: along rows, then along columns."""

    def __init__(self) -> None:
        super().__init__()
        for gate in "zrq":
            setattr(self, f"conv{gate}1", nn.Conv2d(3 * HIDDEN, HIDDEN, (1, 5), padding=(0, 2)))
            setattr(self, f"conv{gate}2", nn.Conv2d(3 * HIDDEN, HIDDEN, (5, 1), padding=(2, 0)))


class FlowHead(nn.Module):
    """Flow head: hidden state to flow update."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, net: Tensor) -> Tensor:
        return self.conv2(conv_relu(net, self.conv1.weight, self.conv1.bias))


class UpdateBlock(nn.Module):
    """Update operator; the context's terms of the gates are computed once a frame (`context_terms`)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.gru, self.flow_head = MotionEncoder(), SeparableGRU(), FlowHead()
        self.mask = nn.Sequential(nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 576, 1))
        self._merged: list[dict[str, Tensor]] = []

    def merge_weights(self) -> None:
        """Merges convolutions of the same input; call it after weights have changed or moved."""
        self.encoder.merge_weights()
        self._merged = []
        for k in (1, 2):
            gates = [getattr(self.gru, f"conv{gate}{k}") for gate in "zrq"]
            weights = [gate.weight for gate in gates]
            parts = {
                "net": torch.cat([w[:, :HIDDEN] for w in weights[:2]]),
                "reset": weights[2][:, :HIDDEN],
                "context": torch.cat([w[:, HIDDEN : 2 * HIDDEN] for w in weights]),
                "motion": torch.cat([w[:, 2 * HIDDEN :] for w in weights]),
            }
            merged = {name: w.contiguous(memory_format=torch.channels_last) for name, w in parts.items()}
            self._merged.append({**merged, "bias": torch.cat([gate.bias for gate in gates])})

    def context_terms(self, context: Tensor) -> Tensor:
        """Terms of the GRU gates from context features.

        From (f, 128, h, w) to (f, 768, h, w).
        """
        terms = [
            functional.conv2d(context, merged["context"], merged["bias"], padding=padding)
            for merged, padding in zip(self._merged, ((0, 2), (2, 0)), strict=True)
        ]
        return torch.cat(terms, 1)

    def forward(self, net: Tensor, context: Tensor, correlation: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """New hidden state (n, 128, h, w) and flow update (n, 2, h, w)."""
        motion = self.encoder(flow, correlation)
        terms = context.split(3 * HIDDEN, 1)
        for merged, padding, term in zip(self._merged, ((0, 2), (2, 0)), terms, strict=True):
            given = functional.conv2d(motion, merged["motion"], padding=padding) + term
            gates = functional.conv2d(net, merged["net"], padding=padding) + given[:, : 2 * HIDDEN]
            update, reset = torch.sigmoid(gates).split(HIDDEN, 1)
            new = functional.conv2d(reset * net, merged["reset"], padding=padding) + given[:, 2 * HIDDEN :]
            net = torch.lerp(net, torch.tanh(new), update)
        return net, self.flow_head(net)

    def upsample(self, flow: Tensor, net: Tensor) -> Tensor:
        """Convex upsampling of flow by 8, from nine neighbors each.

        From (n, 2, h, w) to (n, 2, 8 h, 8 w), float32.
        """
        n, _, h, w = flow.shape
        weight = torch.softmax((MASK_SCALE * self.mask(net)).float().reshape(n, 1, 9, 8, 8, h, w), 2)
        near = functional.unfold(8 * flow, 3, padding=1).reshape(n, 2, 9, 1, 1, h, w)
        return (weight * near).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(n, 2, 8 * h, 8 * w)


class RaftNetwork(nn.Module):
    """RAFT; make one with `build_raft` or `load_raft`."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet, self.cnet, self.update_block = RaftEncoder("instance"), RaftEncoder("batch"), UpdateBlock()

    @property
    def dtype(self) -> torch.dtype:
        return self.fnet.conv1.weight.dtype

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, hidden state and context of RGB images.

        Features (n, 256, h, w), state (n, 128, h, w), context (n, 768, h, w); RGB (n, 3, H, W) uint8.
        """
        normalized = (2 * (images.float() / 255) - 1).to(self.dtype)
        net, context = self.cnet(normalized.contiguous(memory_format=torch.channels_last)).split(HIDDEN, 1)
        terms = self.update_block.context_terms(functional.relu(context))
        return self.fnet(normalized), torch.tanh(net), terms


def build_raft(
    state: dict[str, Tensor] | None, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> RaftNetwork:
    """Network with published weights; with none, torch's random initialization.

    Args:
      state: keys with or without `module.`.
      device: of the network.
      dtype: of weights and features; by default float16 on a GPU and float32 elsewhere.

    Raises:
      ValueError: names the keys that are missing, unknown or of another shape.
    """
    network = RaftNetwork()
    if state is not None:
        try:
            network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        except RuntimeError as error:
            raise ValueError(f"not the weights of the large RAFT network: {error}") from error
    device = torch.device(device)
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    network.requires_grad_(False).eval().to(device, dtype)
    for part in (network.cnet, network.update_block):  # instance norm is slower in channels-last
        part.to(memory_format=torch.channels_last)
    network.update_block.merge_weights()
    return network


def load_raft(path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> RaftNetwork:
    """Network from `raft-things.pth`; no code of the file runs. See `build_raft`."""
    return build_raft(torch.load(path, map_location="cpu", weights_only=True), device, dtype)
