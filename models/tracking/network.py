"""The network of MegaSaM's tracker: two encoders and a recurrent operator that updates flow, in published key names.

Li et al., "MegaSaM: Accurate, Fast, and Robust Structure and Motion from Casual Dynamic Videos" (2025), which extends
Teed and Deng, "DROID-SLAM" (2021). Half precision and channels-last on a GPU, single precision on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURE_CHANNELS = 128
CORRELATION_CHANNELS = 196
STRIDE = 8
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
MAX_MOTION_PX = 64.0
ETA_SCALE = 0.01


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip, each with its norm."""

    def __init__(self, inputs: int, outputs: int, stride: int, normalised: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm = nn.InstanceNorm2d(outputs) if normalised else nn.Identity()
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.conv1(x)))
        y = functional.relu(self.norm(self.conv2(y)))
        skip = x if self.downsample is None else self.norm(self.downsample(x))
        return functional.relu(skip + y)


class Encoder(nn.Module):
    """Pictures (n, 3, H, W), normalised, to features (n, outputs, H / 8, W / 8)."""

    def __init__(self, outputs: int, normalised: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, 2, 3)
        self.norm = nn.InstanceNorm2d(32) if normalised else nn.Identity()
        self.layer1 = self._stage(32, 32, 1, normalised)
        self.layer2 = self._stage(32, 64, 2, normalised)
        self.layer3 = self._stage(64, 128, 2, normalised)
        self.conv2 = nn.Conv2d(128, outputs, 1)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int, normalised: bool) -> nn.Sequential:
        return nn.Sequential(
            ResidualBlock(inputs, outputs, stride, normalised), ResidualBlock(outputs, outputs, 1, normalised)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv1(images)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class ConvGRU(nn.Module):
    """Weights of the recurrent unit; `UpdateOperator` computes it, in fewer and larger convolutions."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        for name in ("convz", "convr", "convq"):
            setattr(self, name, nn.Conv2d(448, c, 3, padding=1))
            setattr(self, f"{name}_glo", nn.Conv2d(c, c, 1))
        self.w = nn.Conv2d(c, c, 1)


class DampingHead(nn.Module):
    """Damping of a frame's inverse depths, from the hidden states of its edges."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.eta = nn.Sequential(nn.Conv2d(c, 1, 3, padding=1))
        self.upmask = nn.Sequential(nn.Conv2d(c, 576, 1))  # published; the tracker has no use for it

    def forward(self, net: Tensor, groups: EdgeGroups) -> Tensor:
        frames = groups.mean(functional.relu(self.conv1(net)))
        return ETA_SCALE * functional.softplus(self.eta(functional.relu(self.conv2(frames))).float())[:, 0]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (n, c, h, w), then GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(super().forward(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class StaticHead(nn.Module):
    """How likely each pixel of an edge belongs to what stands still."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURE_CHANNELS
        self.conv0 = nn.Conv2d(2 * c + 2, c, 3, padding=1)
        for k in (1, 3, 5):
            setattr(self, f"conv{k}", nn.Conv2d(c, c, 3, padding=1))
        for k in (0, 1, 3, 5):
            setattr(self, f"norm_{k}", ChannelNorm(c))
        # Published, but nothing that the tracker uses depends on these.
        self.conv4, self.norm_4 = nn.Conv2d(c + 1, c + 1, 3, padding=1), ChannelNorm(c + 1)
        self.eta = nn.Sequential(nn.Conv2d(c + 1, c, 3, padding=1), nn.GELU(), nn.Conv2d(c, 1, 3, padding=1))
        self.logits_2 = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.GELU(), nn.Conv2d(c, 1, 3, padding=1))

    def forward(self, net: Tensor, weight: Tensor, groups: EdgeGroups) -> Tensor:
        mean = net.mean((2, 3), dtype=torch.float32, keepdim=True).to(net.dtype).expand_as(net)
        x = self.norm_0(self.conv0(torch.cat([net, mean, weight], 1)))
        x = self.norm_1(self.conv1(x)) + x
        x = self.norm_3(self.conv3(x)) + x
        frames = self.norm_5(self.conv5(groups.mean(x)))
        return torch.sigmoid(self.logits_2(x + groups.spread(frames)))


class EdgeGroups:
    """Which edges leave the same frame: means over them, and back.

    Attributes:
      frames: (g,) int64 sorted numbers of the frames that edges leave.
      member: (e,) int64 index of each edge's frame among `frames`.
    """

    def __init__(self, source: npt.NDArray[np.int64], device: torch.device | str) -> None:
        frames, member, counts = np.unique(source, return_inverse=True, return_counts=True)
        share = np.zeros((len(frames), len(source)), np.float32)
        share[member, np.arange(len(source))] = 1 / counts[member]
        self.frames = torch.from_numpy(frames).to(device, non_blocking=True)
        self.member = torch.from_numpy(member).to(device, non_blocking=True)
        self._average = torch.from_numpy(share).to(device, non_blocking=True)

    def mean(self, x: Tensor) -> Tensor:
        """(e, c, h, w) to (g, c, h, w): as a matrix product, which adds in one order where scattering does not."""
        rows = x.permute(0, 2, 3, 1)
        mean = self._average.to(x.dtype) @ rows.reshape(len(x), -1)
        return mean.reshape(-1, *rows.shape[1:]).permute(0, 3, 1, 2)

    def spread(self, x: Tensor) -> Tensor:
        """(g, ...) to (e, ...)."""
        return x[self.member]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowUpdate:
    """What the operator says of edges (i, j).

    Attributes:
      net: (e, 128, h, w) new hidden state.
      delta_px: (e, h, w, 2) float32 correction of the flow, in px of the features.
      weight: (e, h, w, 2) float32 confidence from 0 to 1.
      static: (e, h, w) float32 share of 0 to 1 that a pixel stands still; none where no groups were given.
      eta: (g, h, w) float32 damping of the groups' frames; none where no groups were given.
    """

    net: Tensor
    delta_px: Tensor
    weight: Tensor
    static: Tensor | None = None
    eta: Tensor | None = None


class UpdateOperator(nn.Module):
    """One recurrent step for each edge.

    The context is the same in every step of an edge and for all edges of a frame: its share of the recurrent unit is
    computed once a frame (`share_of_context`).
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
        """Joins convolutions of the same input; to be called after weights have changed or moved."""
        gru, c = self.gru, FEATURE_CHANNELS
        gates = [gru.convz.weight, gru.convr.weight, gru.convq.weight]
        layout = torch.channels_last
        self._merged = {
            "context": torch.cat([w[:, c : 2 * c] for w in gates]).contiguous(memory_format=layout),
            "context_bias": torch.cat([gru.convz.bias, gru.convr.bias, gru.convq.bias]),
            "inputs": torch.cat([w[:, 2 * c :] for w in gates]).contiguous(memory_format=layout),
            "net": torch.cat([w[:, :c] for w in gates[:2]]).contiguous(memory_format=layout),
            "reset": gates[2][:, :c].contiguous(memory_format=layout),
            "glo": torch.cat([m.weight for m in (gru.convz_glo, gru.convr_glo, gru.convq_glo)])[:, :, 0, 0],
            "glo_bias": torch.cat([m.bias for m in (gru.convz_glo, gru.convr_glo, gru.convq_glo)]),
            "heads": torch.cat([self.weight[0].weight, self.delta[0].weight]).contiguous(memory_format=layout),
            "heads_bias": torch.cat([self.weight[0].bias, self.delta[0].bias]),
        }

    def share_of_context(self, context: Tensor) -> Tensor:
        """Context features (f, 128, h, w) to their share (f, 384, h, w) of the recurrent unit's gates."""
        return functional.conv2d(context, self._merged["context"], self._merged["context_bias"], padding=1)

    def forward(
        self, net: Tensor, context: Tensor, correlation: Tensor, motion: Tensor, groups: EdgeGroups | None = None
    ) -> FlowUpdate:
        """One step.

        Args:
          net: (e, 128, h, w) hidden state.
          context: (e, 384, h, w) shares from `share_of_context` of the edges' source frames.
          correlation: (e, 196, h, w).
          motion: (e, 4, h, w) flow, and target minus the flow's end, within +-`MAX_MOTION_PX`.
          groups: the edges' source frames; without them neither `static` nor `eta` are computed.
        """
        net = self._recur(net, context, self.corr_encoder(correlation), self.flow_encoder(motion))
        heads = functional.relu(functional.conv2d(net, self._merged["heads"], self._merged["heads_bias"], padding=1))
        for_weight, for_delta = heads.split(FEATURE_CHANNELS, 1)
        weight = torch.sigmoid(self.weight[2](for_weight))
        delta = self.delta[2](for_delta).permute(0, 2, 3, 1).float()
        static = None if groups is None else self.agg_motion(net, weight, groups)[:, 0].float()
        eta = None if groups is None else self.agg(net, groups)
        return FlowUpdate(net=net, delta_px=delta, weight=weight.permute(0, 2, 3, 1).float(), static=static, eta=eta)

    def _recur(self, net: Tensor, context: Tensor, correlation: Tensor, motion: Tensor) -> Tensor:
        c = FEATURE_CHANNELS
        glo = (torch.sigmoid(self.gru.w(net)) * net).mean((2, 3), dtype=torch.float32).to(net.dtype)
        glo = functional.linear(glo, self._merged["glo"], self._merged["glo_bias"])[:, :, None, None]
        shares = (
            functional.conv2d(torch.cat([correlation, motion], 1), self._merged["inputs"], padding=1) + context + glo
        )
        gates = torch.sigmoid(functional.conv2d(net, self._merged["net"], padding=1) + shares[:, : 2 * c])
        update, reset = gates[:, :c], gates[:, c:]
        new = torch.tanh(functional.conv2d(reset * net, self._merged["reset"], padding=1) + shares[:, 2 * c :])
        return torch.lerp(net, new, update)


def _pair(inputs: int, size: int, outputs: int) -> nn.Sequential:
    middle = nn.Conv2d(inputs, FEATURE_CHANNELS, size, padding=size // 2)
    return nn.Sequential(middle, nn.ReLU(), nn.Conv2d(FEATURE_CHANNELS, outputs, 3, padding=1), nn.ReLU())


class TrackingNetwork(nn.Module):
    """The whole network; make one with `build_network` or `load_network`."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(FEATURE_CHANNELS, normalised=True)
        self.cnet = Encoder(2 * FEATURE_CHANNELS, normalised=False)
        self.update = UpdateOperator()

    @property
    def dtype(self) -> torch.dtype:
        return self.fnet.conv1.weight.dtype

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """RGB pictures (n, 3, H, W) uint8 to features and hidden state (n, 128, h, w), and context (n, 384, h, w)."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
        normalised = ((images.float() / 255 - mean) / std).to(self.dtype)
        net, context = self.cnet(normalised.contiguous(memory_format=torch.channels_last)).split(FEATURE_CHANNELS, 1)
        return self.fnet(normalised), torch.tanh(net), self.update.share_of_context(functional.relu(context))


def build_network(
    state: dict[str, Tensor] | None, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> TrackingNetwork:
    """The network with weights in the published key names; random ones of torch's own initialisation for none.

    Args:
      state: keys with or without `module.`; the heads `delta` and `weight` may have a third row, which is dropped.
      device: where it runs.
      dtype: of weights and features; none for float16 on a GPU and float32 elsewhere.

    Raises:
      ValueError: naming the keys that are missing, unknown or of another shape.
    """
    network = TrackingNetwork()
    if state is not None:
        state = {key.replace("module.", ""): value for key, value in state.items()}
        for key in [f"update.{head}.2.{kind}" for head in ("weight", "delta") for kind in ("weight", "bias")]:
            state[key] = state[key][:2] if key in state else state.get(key)
        try:
            network.load_state_dict({key: value for key, value in state.items() if value is not None})
        except RuntimeError as error:
            raise ValueError(f"these are not the weights of MegaSaM's tracker: {error}") from error
    device = torch.device(device)
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    network.requires_grad_(False).eval().to(device, dtype)
    for part in (network.cnet, network.update):  # instance norm is slower in channels-last
        part.to(memory_format=torch.channels_last)
    network.update.merge_weights()
    return network


def load_network(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> TrackingNetwork:
    """Loads `megasam_final.pth` without running code of the file; see `build_network`."""
    return build_network(torch.load(path, map_location="cpu", weights_only=True), device, dtype)
