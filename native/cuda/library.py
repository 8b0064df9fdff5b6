"""Loads the library of CUDA kernels and calls its functions."""

from __future__ import annotations

import ctypes
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from native.cuda.build import LIBRARY

if TYPE_CHECKING:
    from torch import Tensor

MIN_CAPABILITY = (8, 0)

logger = logging.getLogger(__name__)


def usable_for(tensor: Tensor) -> bool:
    """Whether the tensor is on a GPU that the kernels support; otherwise PyTorch is used."""
    return bool(tensor.is_cuda) and _serves(tensor.device.index)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(str(LIBRARY)) if LIBRARY.exists() else None


@lru_cache(maxsize=16)
def _serves(device: int) -> bool:
    """Whether the kernels run on this GPU; logs once why not."""
    import torch

    found = torch.cuda.get_device_capability(device)
    if found < MIN_CAPABILITY:
        reason = f"has compute capability {found[0]}.{found[1]}, and they need {MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]}"
    elif _library() is None:
        reason = "could run them, but they are not built (`make cuda`)"
    else:
        return True
    name = torch.cuda.get_device_name(device)
    logger.warning("PyTorch replaces our CUDA kernels, slower: the GPU %s %s", name, reason)
    return False


def call(name: str, *arguments: Any) -> None:
    """Calls a kernel's launcher with pointers of tensors, on their device and its current stream.

    Arguments are tensors, None (a null pointer), numbers (64-bit integers and single precision), or ctypes objects.
    """
    import torch

    library = _library()
    assert library is not None
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    for tensor in tensors:
        assert tensor.is_contiguous() and tensor.device == tensors[0].device, name
    converted = [_convert(a) for a in arguments]
    with torch.cuda.device(tensors[0].device):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        status = getattr(library, name)(*converted, stream)
    if status:
        raise RuntimeError(f"{name} failed with CUDA error {status}")


def ask(name: str, *numbers: int) -> int:
    """Return value of a library function of integers."""
    library = _library()
    assert library is not None
    return int(getattr(library, name)(*(ctypes.c_int64(number) for number in numbers)))


def _convert(argument: Any) -> Any:
    if argument is None:
        return ctypes.c_void_p()
    if hasattr(argument, "data_ptr"):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument
