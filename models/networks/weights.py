"""Safe reading of weights files and loading into networks."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any

from models.registry import WeightsError


def read_checkpoint(path: str) -> Any:
    """Contents of a weights file, read without running code of it.

    safetensors files are read by that package, TorchScript archives by `torch.jit`, others by `torch.load` with
    `weights_only`.

    Raises:
      WeightsError: if torch is missing, or the file is of another kind or holds code.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"reading {path!r} needs torch ({error}): install torch (pip install 'spatialbeam[models]')"
        ) from error
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            return torch.jit.load(path, map_location="cpu").state_dict()
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path!r} is not a file of plain tensors: {error}") from error


def read_tensors(path: str, group: str | None = None) -> dict[str, Any]:
    """Named tensors of a weights file.

    Args:
      path: the file.
      group: key of their mapping, if the file holds more than that.

    Raises:
      WeightsError: see `read_checkpoint`; also if there is no such mapping of names to tensors.
    """
    import torch

    state = read_checkpoint(path)
    if group is not None and isinstance(state, Mapping):
        state = state.get(group)
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        where = f" under {group!r}" if group else ""
        raise WeightsError(f"{path!r} holds a {type(state).__name__}{where}, not named tensors")
    return {str(name): tensor for name, tensor in state.items()}


def load_tensors(network: Any, state: Mapping[str, Any], path: str) -> None:
    """Loads tensors into a network whose parameters have exactly these names and shapes.

    Raises:
      WeightsError: if a name or shape differs, naming the first ones.
    """
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path!r} does not fit {type(network).__name__}: {str(error)[:1000]}") from error


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())
