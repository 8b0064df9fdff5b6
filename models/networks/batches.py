"""Batched inference over many images.

Batches are capped in bytes and halved when memory runs out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.arrays import UInt8Array

logger = logging.getLogger(__name__)


class BatchRunner:
    """Runs a network over images in batches; safe to use from several threads.

    Results of a batch are copied to the host while the next batch is computed.

    Args:
      compute: maps (n, h, w, 3) uint8 images on the device, and the index of the first, to tensors of n rows.
      device: of the network.
      max_images: most images in a batch.
      max_bytes: most bytes of uint8 images in a batch of more than one.
    """

    def __init__(
        self,
        compute: Callable[[Tensor, int], Sequence[Tensor]],
        device: torch.device,
        max_images: int,
        max_bytes: int,
    ) -> None:
        self._compute = compute
        self._device = device
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._lock = Lock()
        self.halvings = 0

    def run(self, images: Sequence[UInt8Array]) -> list[npt.NDArray[Any]]:
        """Results for images of one size, in order: an array for each tensor of `compute`.

        Raises:
          ValueError: if there are no images, or they differ in size.
          torch.OutOfMemoryError: if a single image does not fit.
        """
        if not images or len({image.shape for image in images}) != 1:
            raise ValueError("expected images of one size, at least one")
        parts: list[list[npt.NDArray[Any]]] = []
        pending: tuple[list[Tensor], torch.cuda.Event | None] | None = None
        start = 0
        while start < len(images):
            size = max(1, min(self._max_images, self._max_bytes // images[0].nbytes))
            chunk = images[start : start + size]
            try:
                launched = self._launch(chunk, start)
            except torch.OutOfMemoryError:
                if len(chunk) == 1:
                    raise
                self._halve(len(chunk))
                continue
            if pending is not None:
                parts.append(_to_host(*pending))
            pending = launched
            start += len(chunk)
        if pending is not None:
            parts.append(_to_host(*pending))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _launch(self, chunk: Sequence[UInt8Array], first: int) -> tuple[list[Tensor], torch.cuda.Event | None]:
        host = torch.from_numpy(np.stack(chunk))
        with torch.inference_mode():
            if self._device.type != "cuda":
                return list(self._compute(host.to(self._device), first)), None
            results = self._compute(host.pin_memory().to(self._device, non_blocking=True), first)
            copies = [result.to("cpu", non_blocking=True) for result in results]
            done = torch.cuda.Event()
            done.record()
            return copies, done

    def _halve(self, failed: int) -> None:
        with self._lock:
            self._max_images = max(1, failed // 2)
            self.halvings += 1
        logger.warning("out of memory with a batch of %d images: continuing with %d", failed, self._max_images)


def _to_host(results: list[Tensor], done: torch.cuda.Event | None) -> list[npt.NDArray[Any]]:
    if done is not None:
        done.synchronize()
    return [result.numpy(force=True) for result in results]
