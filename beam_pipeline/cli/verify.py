"""`launcher.py verify`: the files of a data set against their digests, tables against shards."""

from __future__ import annotations

import argparse

from beam_pipeline.cli.options import add_dataset_argument
from explore.verify import verify_output

USAGE = "verify OUT"
HELP = "every file against its digest, tables against shards"
DESCRIPTION = (
    "Reads every file that the manifest of a finished run lists, and prints a line for each: whether its size, digest\n"
    "and number of rows or clips are those that were written, and whether shards hold the clips of the clip table.\n"
    "Exit code: 0 if all are, 1 if a file is damaged, 2 if the folder is no finished run."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set."""
    add_dataset_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Prints a line for each file."""
    checked = damaged = num_bytes = 0
    for finding in verify_output(options.output):
        checked += 1
        num_bytes += finding.num_bytes
        damaged += finding.problem is not None
        print(f"ok       {finding.path}" if finding.problem is None else f"damaged  {finding.path} {finding.problem}")
    verdict = f"{damaged} damaged: run the job again to restore them" if damaged else "all as written"
    print(f"{checked} files, {num_bytes} bytes: {verdict}")
    return 1 if damaged else 0
