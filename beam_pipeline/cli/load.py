"""`launcher.py load`: the clip table into BigQuery."""

from __future__ import annotations

import argparse

from beam_pipeline.cli.options import add_bigquery_options, add_dataset_argument, load_and_print

USAGE = "load OUT TABLE"
HELP = "the clip table into BigQuery"
DESCRIPTION = "Loads the clip table of a finished run into BigQuery, each clip once."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set and the table."""
    add_dataset_argument(parser)
    parser.add_argument("table", metavar="PROJECT:DATASET.TABLE")
    add_bigquery_options(parser)


def run(options: argparse.Namespace) -> int:
    """Loads the clip table and prints the number of rows."""
    load_and_print(options.output, options.table, options.bigquery_write, options.bigquery_location)
    return 0
