"""`launcher.py report`: the HTML report of a finished run."""

from __future__ import annotations

import argparse

from beam_pipeline.cli.options import add_dataset_argument
from explore.report import write_report

USAGE = "report OUT"
HELP = "rebuild the HTML report"
DESCRIPTION = "Rebuilds the HTML report of a finished run."

add_arguments = add_dataset_argument


def run(options: argparse.Namespace) -> int:
    """Writes the report and prints where it is."""
    print(write_report(options.output))
    return 0
