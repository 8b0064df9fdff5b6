"""Checkpoints of the published networks with random weights, in the published formats, for speed only."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.frame_models import MOGE_LARGE
from models.flow.raft import RaftNetwork
from models.networks.depth_anything import DepthAnythingV2
from models.networks.hiera import LARGE
from models.networks.moge import MoGe2
from models.registry import ModelCard
from models.registry.table import DEPTH_ANYTHING_V2_LARGE, MEGASAM, MOGE_2_VITL, RAFT_THINGS, SAM_21_LARGE
from models.slam.network import TrackingNetwork


def write_weights(folder: Path) -> None:
    """Writes them into a models folder."""
    torch.manual_seed(0)
    depth = DepthAnythingV2("vitl")
    depth.depth_head.scratch.output_conv2[2].bias.data.fill_(1.0)
    _write(folder, DEPTH_ANYTHING_V2_LARGE, depth.state_dict())
    _write(folder, MOGE_2_VITL, {"model": MoGe2(MOGE_LARGE).state_dict(), "model_config": MOGE_LARGE})
    for card, network in ((MEGASAM, TrackingNetwork()), (RAFT_THINGS, RaftNetwork())):
        _write(folder, card, {f"module.{name}": value for name, value in network.state_dict().items()})
    tensors = importlib.import_module("tests.support.published_sam").published_tensors(LARGE)
    _write(folder, SAM_21_LARGE, {"model": {name: _random(name, zeros) for name, zeros in tensors.items()}})


def _random(name: str, zeros: Tensor) -> Tensor:
    if zeros.ndim > 1:
        return torch.randn_like(zeros) * 0.02
    return torch.ones_like(zeros) if name.endswith(("weight", "gamma")) else zeros


def _write(folder: Path, card: ModelCard, checkpoint: object) -> None:
    path = folder / card.files[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
