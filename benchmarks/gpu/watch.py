"""GPU utilization while other code runs: by `nvidia-smi` throughout, by torch's profiler in a window."""

from __future__ import annotations

import importlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

PERIOD_MS = 200
REPORT_S = 30.0


class GpuWatch:
    """Watches the first GPU while its block runs.

    Args:
      window_s: start and length of the time under the profiler; none for none.
      report: whether a line is printed each half minute.

    Attributes:
      samples: seconds since the start, and the share of time in % in which a kernel ran (NVML), each 0.2 s.
      profiled: share of the window in which a kernel ran or something was copied, by the profiler; none without.
    """

    def __init__(self, window_s: tuple[float, float] | None = None, *, report: bool = False) -> None:
        self._window_s, self._report = window_s, report
        self.samples: list[tuple[float, int]] = []
        self.profiled: float | None = None
        self._ended = threading.Event()

    def __enter__(self) -> GpuWatch:
        self._start = time.monotonic()
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", "0"]
        self._sampler = subprocess.Popen([*command, f"-lms={PERIOD_MS}"], stdout=subprocess.PIPE, text=True)
        self._threads = [threading.Thread(target=self._sample)]
        if self._window_s is not None:
            # What the profiler imports when it starts must not meet what other threads import then.
            importlib.import_module("torch._dynamo")
            importlib.import_module("torch._inductor")
            self._threads.append(threading.Thread(target=self._profile, args=self._window_s))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.terminate()
        for thread in self._threads:
            thread.join()

    @property
    def in_use(self) -> tuple[float, float]:
        """Seconds at which it was first and last seen at work."""
        times = [t for t, use in self.samples if use]
        return (times[0], times[-1]) if times else (0.0, 0.0)

    def busy(self) -> float:
        """Returns the mean utilization from its first to its last work."""
        first, last = self.in_use
        used = [use for t, use in self.samples if first <= t <= last]
        return float(np.mean(used)) / 100 if used else 0.0

    def save(self, path: Path) -> None:
        """The samples as a table."""
        path.write_text("seconds,busy_percent\n" + "".join(f"{t:.2f},{use}\n" for t, use in self.samples))

    def _sample(self) -> None:
        reported = 0.0
        assert self._sampler.stdout is not None
        for line in self._sampler.stdout:
            now = time.monotonic() - self._start
            self.samples.append((now, int(line)))
            if self._report and now - reported > REPORT_S:
                last = [use for t, use in self.samples if t > reported]
                print(f"{now:.0f} s: GPU busy {np.mean(last):.0f} %", flush=True)
                reported = now

    def _profile(self, start_s: float, length_s: float) -> None:
        from torch.profiler import ProfilerActivity, profile

        if self._ended.wait(start_s):
            return
        profiling: Any = profile(activities=[ProfilerActivity.CUDA], acc_events=False)
        with profiling:
            begin = time.monotonic()
            self._ended.wait(length_s)
            length = time.monotonic() - begin
        events = profiling.profiler.kineto_results.events()
        spans = sorted((e.start_ns(), e.start_ns() + e.duration_ns()) for e in events if e.device_type().name == "CUDA")
        busy, reached = 0, 0
        for begin_ns, end_ns in spans:
            busy += max(0, end_ns - max(begin_ns, reached))
            reached = max(reached, end_ns)
        self.profiled = busy / 1e9 / length
