"""`launcher.py rethreshold`: other limits on the scores of a finished run."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import add_config_arguments
from beam_pipeline.config import load_config
from explore.rethreshold import print_changes, rethreshold

USAGE = "rethreshold OUT ..."
HELP = "other limits on the scores of a finished run"
DESCRIPTION = (
    "Applies other limits to the scores of a finished run and reports what would change.\n"
    "Nothing is decoded. With --write the new verdicts go to a Parquet file."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the run, the configuration with the limits, and the file to write."""
    parser.add_argument("output", help="folder of a finished run")
    add_config_arguments(parser)
    parser.add_argument("--write", metavar="FILE", help="write the clip table with the new verdicts")


def run(options: argparse.Namespace) -> int:
    """Prints what the limits of the configuration would change."""
    config = load_config(options.config, options.overrides)
    print_changes(rethreshold(options.output, config.thresholds, options.write), Console())
    return 0
