"""`launcher.py query`: SQL over the tables of a finished run."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import UsageError, add_clips_per_shard, add_dataset_argument
from explore.query import materialize_query, print_query, write_query
from explore.saved_queries import SAVED_QUERIES, saved_query, to_bigquery

USAGE = 'query OUT "SELECT .."'
HELP = """SQL over the tables clips, videos, shots, failures: rows to look at, a file,
or a new data set of the clips that it names; --list: queries ready to use"""
DESCRIPTION = "Runs SQL over the tables clips, videos, shots and failures of a finished run."


class _ListQueries(argparse.Action):
    """Prints the saved queries, as `--help` prints help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        width = max(map(len, SAVED_QUERIES))
        for query in SAVED_QUERIES.values():
            print(f"{query.name:{width}}  {query.question}")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set, the query, and where its rows go."""
    add_dataset_argument(parser)
    parser.add_argument("sql", nargs="?", help='e.g. "SELECT video_id, count(*) FROM clips GROUP BY 1"')
    parser.add_argument("--saved", metavar="NAME", help="a saved query instead of SQL")
    parser.add_argument("--list", action=_ListQueries, nargs=0, help="names the saved queries, and ends")
    parser.add_argument("--dialect", choices=("duckdb", "bigquery"), help="prints the SQL in a dialect; runs nothing")
    parser.add_argument(
        "--bigquery_table",
        metavar="TABLE",
        default="project:dataset.clips",
        help="where BigQuery's SQL finds the clips (default: %(default)s)",
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--to", metavar="FILE", help="write the rows to FILE.csv or FILE.parquet")
    target.add_argument(
        "--materialize",
        metavar="FOLDER",
        help="write the clips that the query names (column clip_id) as a data set of their own: shards, tables, "
        "manifest, report",
    )
    add_clips_per_shard(parser)


def run(options: argparse.Namespace) -> int:
    """Prints rows or SQL of the query, or writes its rows or clips."""
    if (options.sql is None) == (options.saved is None):
        raise UsageError("give SQL or --saved NAME")
    sql = options.sql if options.saved is None else saved_query(options.saved).sql
    console = Console()
    if options.dialect:
        print(to_bigquery(sql, options.bigquery_table) if options.dialect == "bigquery" else sql)
    elif options.to:
        rows = write_query(options.output, sql, options.to)
        console.print(f"{options.to}: {rows} rows", markup=False, highlight=False)
    elif options.materialize:
        accounting = materialize_query(
            options.output, sql, options.materialize, clips_per_shard=options.clips_per_shard, on_progress=print
        )
        console.print(f"{options.materialize}: {accounting.clips} clips", markup=False, highlight=False)
    else:
        print_query(options.output, sql, console)
    return 0
