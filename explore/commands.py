"""The commands over a finished data set: parse, call, print."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console

from explore.balance import AXES, RULE, balance, print_choice
from explore.export import FORMATS, export_clips
from explore.published.groups import ARCHIVES, download
from explore.query import materialize_query, print_query, write_query
from explore.report import write_report
from explore.saved_queries import SAVED_QUERIES, saved_query, to_bigquery
from explore.stats import gather_stats, print_stats, stats_csv, stats_json
from explore.view import serve
from explore.warehouse import Disposition, load_clips


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A command's parser; its description keeps its lines."""
    return argparse.ArgumentParser(
        prog=f"launcher.py {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = make_parser(name, description)
    parser.add_argument("output", help="folder of a finished run (path or fsspec URI)")
    return parser


def _report(arguments: list[str]) -> int:
    options = _parser("report", "Rebuilds the HTML report of a finished run.").parse_args(arguments)
    print(write_report(options.output))
    return 0


class _ListQueries(argparse.Action):
    """Prints the saved queries, as `--help` prints help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        width = max(map(len, SAVED_QUERIES))
        for query in SAVED_QUERIES.values():
            print(f"{query.name:{width}}  {query.question}")
        parser.exit()


def _query(arguments: list[str]) -> int:
    parser = _parser("query", "Runs SQL over the tables clips, videos, shots and failures of a finished run.")
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
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", metavar="FILE", help="write the rows to FILE.csv or FILE.parquet")
    where.add_argument(
        "--materialize",
        metavar="FOLDER",
        help="write the clips that the query names (column clip_id) as a data set of their own: shards, tables, "
        "manifest, report",
    )
    _add_clips_per_shard(parser)
    options = parser.parse_args(arguments)
    if (options.sql is None) == (options.saved is None):
        parser.error("give SQL or --saved NAME")
    sql = options.sql if options.saved is None else saved_query(options.saved).sql
    console = Console()
    if options.dialect:
        print(to_bigquery(sql, options.bigquery_table) if options.dialect == "bigquery" else sql)
    elif options.to:
        rows = write_query(options.output, sql, options.to)
        console.print(f"{options.to}: {rows} rows", markup=False, highlight=False)
    elif options.materialize:
        books = materialize_query(
            options.output, sql, options.materialize, clips_per_shard=options.clips_per_shard, tell=print
        )
        console.print(f"{options.materialize}: {books.clips} clips", markup=False, highlight=False)
    else:
        print_query(options.output, sql, console)
    return 0


def add_bigquery_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what becomes of rows that a table has already, and of a missing data set."""
    parser.add_argument(
        "--bigquery_write",
        choices=("merge", "replace"),
        default="merge",
        help="merge (default): rows of the same clip are replaced, others kept; replace: none but this run's are left",
    )
    parser.add_argument(
        "--bigquery_location", metavar="LOCATION", help="make the data set there (EU, US, ...) if there is none"
    )


def load_and_tell(output_uri: str, table: str, disposition: Disposition, location: str | None) -> None:
    """Loads the clip table into BigQuery and says so."""
    rows = load_clips(output_uri, table, disposition, location)
    print(f"{table}: {rows} clips loaded")


def _load(arguments: list[str]) -> int:
    parser = _parser("load", "Loads the clip table of a finished run into BigQuery, each clip once.")
    parser.add_argument("table", metavar="PROJECT:DATASET.TABLE")
    add_bigquery_options(parser)
    options = parser.parse_args(arguments)
    load_and_tell(options.output, options.table, options.bigquery_write, options.bigquery_location)
    return 0


def _view(arguments: list[str]) -> int:
    parser = _parser("view", "Shows clips in a browser: picture and overlays, camera path, points, motion, caption.")
    parser.add_argument("--where", metavar="SQL", help='only clips that meet a condition, e.g. "move_dist > 1"')
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args(arguments)
    serve(options.output, host=options.host, port=options.port, where=options.where)
    return 0


def _export(arguments: list[str]) -> int:
    parser = _parser("export", "Writes kept clips in a layout that other programs read.")
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument("--to", required=True, metavar="FOLDER", help="where to write (path or fsspec URI)")
    parser.add_argument("--where", metavar="SQL", help='only clips that meet a condition, e.g. "traj_turns >= 2"')
    options = parser.parse_args(arguments)
    done = export_clips(options.output, options.format, options.to, options.where, tell=print)
    print(f"{options.to}: {done.clips} clips as {options.format}")
    for reason, count in done.left_out.items():
        print(f"left out: {count} clips: {reason}")
    return 0


def _stats(arguments: list[str]) -> int:
    parser = _parser("stats", "Counts, hours and spreads of a data set, as SpatialVID's paper gives them for its own.")
    parser.add_argument("--where", metavar="SQL", help="only kept clips that meet a condition")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    options = parser.parse_args(arguments)
    tables = gather_stats(options.output, options.where)
    if options.format == "table":
        print_stats(tables, Console())
    else:
        print(stats_json(tables) if options.format == "json" else stats_csv(tables))
    return 0


def _balance(arguments: list[str]) -> int:
    parser = _parser("balance", f"Chooses clips so that tags and motion are balanced.\n\n{RULE}")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="clips to choose")
    parser.add_argument("--where", metavar="SQL", help="condition for candidates, e.g. tighter limits on scores")
    parser.add_argument("--axes", nargs="+", default=list(AXES), metavar="COLUMN", help=f"default: {' '.join(AXES)}")
    parser.add_argument("--materialize", metavar="FOLDER", help="write the chosen clips as a data set of their own")
    _add_clips_per_shard(parser)
    options = parser.parse_args(arguments)
    choice, books = balance(
        options.output,
        options.count,
        where=options.where,
        axes=options.axes,
        folder_uri=options.materialize,
        clips_per_shard=options.clips_per_shard,
        tell=print,
    )
    print_choice(choice, Console())
    if books is not None:
        print(f"{options.materialize}: {books.clips} clips")
    return 0


def _download(arguments: list[str]) -> int:
    parser = make_parser(
        "download",
        "Fetches single clips of a published SpatialVID data set, without keeping its archives.\n"
        "What is there is not fetched again; a broken connection goes on where it was.",
    )
    parser.add_argument("base", help="folder or http(s) address of the data set")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="local folder to write to")
    parser.add_argument(
        "--metadata", required=True, metavar="FILE", help="the data set's table, below BASE or anywhere"
    )
    parser.add_argument("--ids", nargs="+", default=[], metavar="ID|FILE", help="clip ids, or files with one a line")
    parser.add_argument("--where", metavar="SQL", help="condition over the table, e.g. '\"motion score\" > 5'")
    parser.add_argument("--limit", type=int, metavar="N", help="most clips, the first by id")
    parser.add_argument("--kinds", nargs="+", choices=tuple(ARCHIVES), default=["videos", "annotations"])
    parser.add_argument("--token-env", metavar="NAME", help="environment variable that holds an access token")
    options = parser.parse_args(arguments)
    done = download(
        options.base,
        options.metadata,
        options.to,
        ids=options.ids,
        where=options.where,
        limit=options.limit,
        kinds=options.kinds,
        token_env=options.token_env,
        tell=print,
    )
    print(f"{options.to}: {done.files} files written, {done.present} there already, {len(done.missing)} missing")
    for what, reason in done.missing.items():
        print(f"missing: {what}: {reason}")
    return 1 if done.missing else 0


def _add_clips_per_shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips-per-shard", type=int, default=500, metavar="N", help="clips in a new tar, on average")


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "report": _report,
    "view": _view,
    "query": _query,
    "load": _load,
    "export": _export,
    "stats": _stats,
    "balance": _balance,
    "download": _download,
}
