"""`launcher.py balance`: a subset that is balanced over tags and motion."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import add_clips_per_shard, add_dataset_argument
from explore.balance import AXES, RULE, balance, print_selection

USAGE = "balance OUT --count N"
HELP = "a subset balanced over tags and motion"
DESCRIPTION = f"Chooses clips so that tags and motion are balanced.\n\n{RULE}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set, the candidates, the axes, and the folder to write."""
    add_dataset_argument(parser)
    parser.add_argument("--count", type=int, required=True, metavar="N", help="clips to choose")
    parser.add_argument("--where", metavar="SQL", help="condition for candidates, e.g. tighter limits on scores")
    parser.add_argument("--axes", nargs="+", default=list(AXES), metavar="COLUMN", help=f"default: {' '.join(AXES)}")
    parser.add_argument("--materialize", metavar="FOLDER", help="write the chosen clips as a data set of their own")
    add_clips_per_shard(parser)


def run(options: argparse.Namespace) -> int:
    """Selects clips, prints their distribution, and writes them on request."""
    selection, accounting = balance(
        options.output,
        options.count,
        where=options.where,
        axes=options.axes,
        folder_uri=options.materialize,
        clips_per_shard=options.clips_per_shard,
        on_progress=print,
    )
    print_selection(selection, Console())
    if accounting is not None:
        print(f"{options.materialize}: {accounting.clips} clips")
    return 0
