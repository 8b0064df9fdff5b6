"""Sharing a GPU among the threads of a process."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from apache_beam.metrics import Metrics

T = TypeVar("T")

TURNS = 2
"""Threads that use the GPU at a time: while one works on the CPU, the other keeps the GPU busy."""

SWITCH_S = 5e-4
"""Switch interval of the interpreter lock. Kernel launches take the lock thousands of times a second, and must not wait
long for threads that work on the CPU."""

_turns = threading.Semaphore(TURNS)
_wants_all = threading.Lock()

logger = logging.getLogger(__name__)


def in_turn(device: str, work: Callable[[], T]) -> T:
    """Result of `work`, run while at most `TURNS` threads use the device.

    So few batches are in its memory.

    All turns use one stream, so shared tensors are ready when they are read. Work that runs out of memory is run once
    more with the GPU to itself. On a CPU nothing waits.

    Args:
      device: "cuda" or "cpu".
      work: GPU work only: decoding, resizing and writing belong outside.
    """
    if device != "cuda":
        return work()
    sys.setswitchinterval(SWITCH_S)
    try:
        with _turns:
            return work()
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
    # Outside the except block: the error would keep the tensors of the failed attempt alive.
    Metrics.counter("gpu", "turns_repeated").inc()
    logger.warning("out of memory on the GPU: trying once more with the GPU to itself")
    with _all_turns():
        sys.modules["torch"].cuda.empty_cache()
        return work()


@contextmanager
def _all_turns() -> Iterator[None]:
    with _wants_all, ExitStack() as taken:
        for _ in range(TURNS):
            taken.enter_context(_turns)
        yield


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
