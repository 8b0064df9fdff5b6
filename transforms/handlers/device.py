"""Turns on a GPU that the threads of a process share."""

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
"""Threads that work on the GPU at a time: what one of them does on the CPU meanwhile, the other's work hides."""

SWITCH_S = 5e-4
"""How long a thread keeps the interpreter while others wait. Launching what the GPU does takes it thousands of times a
second, and must not wait long each time for threads that work on the CPU."""

_turns = threading.Semaphore(TURNS)
_wants_all = threading.Lock()

logger = logging.getLogger(__name__)


def in_turn(device: str, work: Callable[[], T]) -> T:
    """What `work` gives, done in a turn on the device, so that its memory holds few batches at a time.

    All turns use one stream, so nothing that they share is read before it is there. Work that runs out of memory is
    done once more with the GPU for itself. On a CPU nothing is waited for.

    Args:
      device: "cuda" or "cpu".
      work: what the GPU does, and little else: decoding, resizing and writing belong outside.
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
    # Not in the handler: the error holds what the work had on the GPU.
    Metrics.counter("gpu", "turns_repeated").inc()
    logger.warning("out of memory on the GPU: waiting for the other turn, then once more")
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
