"""Damages every kind of stored file between two runs, and says what the second run made of it.

python -m benchmarks.faults --count 500 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from beam_pipeline.cli.options import EXAMPLES
from benchmarks.faults.campaign import Campaign
from benchmarks.faults.stored_files import plan_faults
from core import determinism


def main() -> int:
    """Runs the campaign; the exit code is 1 if a fault changed a byte or was not survived."""
    determinism.enable()
    if not determinism.is_enabled():
        # NumPy is here already, with other kernels: the job would leave this process, and start-up would be measured.
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="faults; default: every kind of file with every damage, once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", nargs="+", default=[str(EXAMPLES)], help="videos; default: the shipped examples")
    parser.add_argument("--config", default="demo")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    arguments = ["--input", *options.input, "--config", options.config, "--direct_num_workers=1"]
    tally: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            campaign = Campaign(Path(folder, "out"), arguments)
        for fault in plan_faults(campaign.output, options.seed, options.count):
            with contextlib.redirect_stdout(io.StringIO()):
                trial = campaign.try_faults(fault)
            tally[fault.damage, "equal" if trial.problem is None else "not equal"] += 1
            print(
                f"{trial.problem or 'equal':12} {trial.damaged_results} counted {trial.seconds:5.1f} s  "
                f"{fault.damage:11} {fault.kind:50} {trial.paths[0]}",
                flush=True,
            )
    for damage in dict.fromkeys(name for name, _ in tally):
        print(f"{damage:11} {tally[damage, 'equal']:4} equal {tally[damage, 'not equal']:4} not equal")
    return int(any(outcome == "not equal" for _, outcome in tally))


if __name__ == "__main__":
    sys.exit(main())
