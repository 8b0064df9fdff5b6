"""Progress of a local run: a live table on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from beam_pipeline.graph import Stages
from core.progress import ProgressReader

REFRESH_S = 0.5
LOG_EVERY_S = 15.0
OUTCOMES = ("done", "reused", "failed", "passed")
logger = logging.getLogger(__name__)


class ProgressDisplay:
    """Shows the counts that workers write to `folder`, for the length of a `with` block."""

    def __init__(self, folder: str, stages: Stages, console: Console | None = None) -> None:
        self._stages = stages
        self._reader = ProgressReader(folder)
        self._console = console or Console(stderr=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> ProgressDisplay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._console.is_terminal:
            with Live(self.table(), console=self._console, refresh_per_second=4, transient=True) as live:
                while not self._stop.wait(REFRESH_S):
                    live.update(self.table())
            return
        last = self._started
        while not self._stop.wait(REFRESH_S):
            if time.monotonic() - last >= LOG_EVERY_S:
                last = time.monotonic()
                logger.info("%s", self.line())

    def _counts(self) -> dict[str, Counter[str]]:
        counts: dict[str, Counter[str]] = {}
        for (stage, what), count in self._reader.read().items():
            counts.setdefault(stage, Counter())[what] += count
        return counts

    def table(self) -> Table:
        """The funnel as title, and a row per stage."""
        elapsed = time.monotonic() - self._started
        counts = self._counts()
        table = Table(title=f"{elapsed:.0f} s   {_funnel(counts)}", title_justify="left")
        for name in ("stage", *OUTCOMES, "per second", "time left"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for stages, group in ((self._stages.video, "videos"), (self._stages.clip, "clips")):
            for stage in (s.contract.name for s in stages):
                table.add_row(*_stage_cells(stage, counts.get(stage, Counter()), counts.get(group), elapsed))
        return table

    def line(self) -> str:
        """The funnel and the number of analyzed frames in one line."""
        counts = self._counts()
        frames = counts.get("AnalyzeVideo", Counter())["frames"]
        return f"{_funnel(counts)}; {frames:.0f} frames analyzed"


def _funnel(counts: dict[str, Counter[str]]) -> str:
    videos, clips = counts.get("videos", Counter()), counts.get("clips", Counter())
    return (
        f"videos {videos['done'] + videos['failed']:.0f}/{videos['expected']:.0f}"
        f" ({videos['failed']:.0f} failed), clips {clips['expected']:.0f} found:"
        f" {clips['kept']:.0f} kept, {clips['rejected']:.0f} rejected, {clips['failed']:.0f} failed"
    )


def _stage_cells(stage: str, counts: Counter[str], group: Counter[str] | None, elapsed: float) -> list[str]:
    finished = sum(counts[o] for o in OUTCOMES)
    expected = group["expected"] if group else 0
    frames = counts["frames"]
    rate = f"{frames / elapsed:.0f} frames" if frames else f"{finished / elapsed:.1f}" if elapsed else ""
    left = f"{(expected - finished) / finished * elapsed:.0f} s" if finished and expected else ""
    return [stage, *(f"{counts[o]:.0f}" for o in OUTCOMES), rate, left]
