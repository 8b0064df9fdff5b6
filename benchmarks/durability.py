"""What verified and durable bytes cost: time in fsync in a first run, time in digests in a second one.

python -m benchmarks.durability --input examples/videos --config demo
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from beam_pipeline.cli.main import main as launch
from beam_pipeline.cli.options import EXAMPLES
from core import determinism
from storage.store import Store


class Meter:
    """Calls of a function and the seconds in it."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner = inner
        self.calls, self.seconds = 0, 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._inner(*arguments, **options)
        finally:
            self.calls += 1
            self.seconds += time.perf_counter() - started


@contextlib.contextmanager
def metered(owner: Any, name: str) -> Iterator[Meter]:
    """Measures a function of a module or class while the block runs."""
    meter = Meter(getattr(owner, name))
    with mock.patch.object(owner, name, lambda *arguments, **options: meter(*arguments, **options)):
        yield meter


def timed_run(arguments: list[str]) -> float:
    """Seconds of a run in this process.

    Raises:
      RuntimeError: if it fails.
    """
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = launch(arguments)
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")
    return time.perf_counter() - started


def main() -> None:
    """Prints the costs of a first run and of a second one that finds everything done."""
    determinism.enable()
    if not determinism.is_enabled():
        # NumPy is here already, with other kernels: the job would leave this process, and start-up would be measured.
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.durability", *sys.argv[1:]])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", default=[str(EXAMPLES)], help="videos; default: the shipped examples")
    parser.add_argument("--config", default="demo")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-", dir=".") as folder:
        output = Path(folder, "out")
        arguments = ["--input", *options.input, "--config", options.config, "--output", str(output), "--no-progress"]
        arguments.append("--direct_num_workers=1")
        with metered(os, "fsync") as fsync:
            seconds = timed_run(arguments)
        num_bytes = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        print(f"first run: {seconds:.1f} s, {num_bytes / 1e6:.1f} MB in the output folder")
        print(f"  fsync: {fsync.calls} calls, {fsync.seconds:.2f} s, {100 * fsync.seconds / seconds:.2f} % of the run")
        with metered(Store, "check") as check:
            seconds = timed_run(arguments)
        print(f"second run: {seconds:.1f} s")
        print(f"  verification: {check.calls} files, {check.seconds:.2f} s, {100 * check.seconds / seconds:.2f} %")
        with metered(Store, "check") as check:
            seconds = timed_run([*arguments, "--trust-output"])
        print(f"second run with --trust-output: {seconds:.1f} s, of which {check.seconds:.2f} s sizes")


if __name__ == "__main__":
    main()
