"""Times of device work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def median_ms(call: Callable[[], Any], repeats: int = 20, warm_up: int = 3) -> float:
    """Returns the median milliseconds of calls by device events, after a warm-up."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return float(np.median(times))
