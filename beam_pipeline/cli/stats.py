"""`launcher.py stats`: counts, hours and distributions of a data set."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import add_dataset_argument
from explore.stats import gather_stats, print_stats, stats_csv, stats_json

USAGE = "stats OUT"
HELP = "counts, hours and spreads, as the paper gives them"
DESCRIPTION = "Counts, hours and spreads of a data set, as SpatialVID's paper gives them for its own."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set, a condition on its clips, and the format."""
    add_dataset_argument(parser)
    parser.add_argument("--where", metavar="SQL", help="only kept clips that meet a condition")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")


def run(options: argparse.Namespace) -> int:
    """Prints the tables of statistics."""
    tables = gather_stats(options.output, options.where)
    if options.format == "table":
        print_stats(tables, Console())
    else:
        print(stats_json(tables) if options.format == "json" else stats_csv(tables))
    return 0
