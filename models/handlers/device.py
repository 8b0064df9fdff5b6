"""Turns on a GPU that the threads of a process share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.Lock()


@contextmanager
def device_turn(device: str) -> Iterator[None]:
    """Waits for a turn on the device, so that its memory holds one batch at a time. On a CPU nothing is waited for.

    Keep to it what the GPU does: decoding and writing belong outside, where other threads do not wait for them.
    """
    if device != "cuda":
        yield
        return
    with _turn:
        yield
