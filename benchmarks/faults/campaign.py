"""Runs a job, damages a file, runs it again: the second run must restore the first one's bytes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beam_pipeline.cli.main import main
from benchmarks.faults.stored_files import Fault
from explore.outputs import read_accounting, read_manifest
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Trial:
    """Damaged files and the run after it; `problem` is None if that run gave equal bytes and balanced totals."""

    paths: tuple[str, ...]
    damaged_results: int
    seconds: float
    problem: str | None


class Campaign:
    """One output folder that is damaged and restored again and again.

    Args:
      output: folder of the data set.
      arguments: of `launcher.py run`, without the output.
    """

    def __init__(self, output: Path, arguments: Sequence[str]) -> None:
        self.output = output
        self._arguments = [*arguments, "--output", str(output), "--no-progress"]
        # The second run fills what only a rerun reads; its bytes are those of the first.
        for _ in range(2):
            if code := main(self._arguments):
                raise RuntimeError(f"the run without a fault ended with exit code {code}")
        self._expected = dataset_digests(output)

    def try_faults(self, *faults: Fault) -> Trial:
        """Damages files and runs the job again."""
        paths = tuple(fault.inject(self.output) for fault in faults)
        started = time.perf_counter()
        code = main(self._arguments)
        seconds = time.perf_counter() - started
        problem = f"exit code {code}" if code else None
        if problem is None and dataset_digests(self.output) != self._expected:
            problem = "other bytes"
        if problem is None:
            problem = "; ".join(read_accounting(str(self.output)).problems()) or None
        damaged = json.loads((self.output / "run.json").read_text()).get("damaged_results", 0) if code == 0 else 0
        return Trial(paths, damaged, seconds, problem)


def dataset_digests(output: Path) -> dict[str, str]:
    """SHA-256 of the manifest and of all files on disk that it lists."""
    names = ["manifest.json", *(file["path"] for file in read_manifest(Store(str(output))))]
    return {name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in names}
