"""Live progress of a run on this machine: counts that workers append to small files.

Beam's metrics reach the launcher only when a local run has ended; these files can be read while it runs.
Totals come from the tables, never from here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)


class ProgressLog:
    """Appends counts to one file per process in `folder`.

    Does nothing if `folder` is None or cannot be written: a display never ends a job.
    """

    _files: dict[str, TextIO | None] = {}  # noqa: RUF012 - one open file per process and folder, shared by threads
    _lock = threading.Lock()

    def __init__(self, folder: str | None) -> None:
        self.folder = folder

    def add(self, stage: str, what: str, count: float = 1) -> None:
        """Adds `count` to the counter `(stage, what)`."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, f"{os.getpid()}.tsv")
        with self._lock:
            if path not in self._files:
                self._files[path] = _open_log(path)
            if file := self._files[path]:
                file.write(f"{stage}\t{what}\t{count}\n")


def _open_log(path: str) -> TextIO | None:
    try:
        return open(path, "a", buffering=1, encoding="utf-8")
    except OSError as error:
        logger.warning("this worker's progress will not be shown: %s", error)
        return None


class ProgressReader:
    """Sums what all processes have appended so far; each call reads only what is new."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.totals: Counter[tuple[str, str]] = Counter()
        self._offsets: dict[Path, int] = {}

    def read(self) -> Counter[tuple[str, str]]:
        """Totals by `(stage, what)`."""
        for path in sorted(self.folder.glob("*.tsv")):
            for stage, what, count in self._new_lines(path):
                self.totals[stage, what] += float(count)  # type: ignore[assignment]
        return self.totals

    def _new_lines(self, path: Path) -> Iterator[list[str]]:
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._offsets[path] = self._offsets.get(path, 0) + end
        for line in data[:end].decode().splitlines():
            yield line.split("\t")
