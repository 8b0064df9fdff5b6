"""Running a network over many pictures: batches capped in bytes, and halved where memory runs out."""

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
    """Puts pictures through a network, most of them at once that fit; safe to use from several threads.

    While one batch is computed, the results of the one before go back to the host.

    Args:
      compute: (n, h, w, 3) uint8 pictures on the device, and the place of the first of them, to tensors with n rows
        each.
      device: where it runs.
      max_pictures: most pictures in a batch.
      max_bytes: most bytes of uint8 pictures in a batch; one picture is always taken.
    """

    def __init__(
        self,
        compute: Callable[[Tensor, int], Sequence[Tensor]],
        device: torch.device,
        max_pictures: int,
        max_bytes: int,
    ) -> None:
        self._compute = compute
        self._device = device
        self._max_pictures = max_pictures
        self._max_bytes = max_bytes
        self._lock = Lock()
        self.halvings = 0

    def run(self, pictures: Sequence[UInt8Array]) -> list[npt.NDArray[Any]]:
        """Results of pictures of one size, in their order: one array for each tensor that `compute` gives.

        Raises:
          ValueError: if there are no pictures, or they differ in size.
          torch.OutOfMemoryError: if a single picture does not fit.
        """
        if not pictures or len({picture.shape for picture in pictures}) != 1:
            raise ValueError("expected pictures of one size, at least one")
        parts: list[list[npt.NDArray[Any]]] = []
        waiting: tuple[list[Tensor], torch.cuda.Event | None] | None = None
        start = 0
        while start < len(pictures):
            size = max(1, min(self._max_pictures, self._max_bytes // pictures[0].nbytes))
            chunk = pictures[start : start + size]
            try:
                launched = self._launch(chunk, start)
            except torch.OutOfMemoryError:
                if len(chunk) == 1:
                    raise
                self._halve(len(chunk))
                continue
            if waiting is not None:
                parts.append(_to_host(*waiting))
            waiting = launched
            start += len(chunk)
        if waiting is not None:
            parts.append(_to_host(*waiting))
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
            self._max_pictures = max(1, failed // 2)
            self.halvings += 1
        logger.warning("out of memory with %d pictures at once: going on with %d", failed, self._max_pictures)


def _to_host(results: list[Tensor], done: torch.cuda.Event | None) -> list[npt.NDArray[Any]]:
    if done is not None:
        done.synchronize()
    return [result.numpy(force=True) for result in results]
