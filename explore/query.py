"""SQL over the tables of a finished run: prints or writes rows, or writes clips."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import duckdb
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from core.accounting import Accounting
from explore.markup import escape_controls
from explore.outputs import OutputError, connect
from explore.subset import write_subset
from storage.store import Store
from storage.uris import normalize_uri

MAX_ROWS_SHOWN = 1000


def print_query(output_uri: str, sql: str, console: Console) -> None:
    """Prints the rows of a query as a table, or tab-separated off a terminal.

    Raises:
      OutputError: if the folder is no finished run, or the query is wrong.
    """
    try:
        result = connect(output_uri).execute(sql)
        if result is None or result.description is None:
            raise OutputError("the query is empty: give one SQL statement")
        # DuckDB computes rows while they are fetched: errors can come as late as that.
        if console.is_terminal:
            _print_table(result, console)
        else:
            _print_lines(result)
    except duckdb.Error as error:
        raise OutputError(f"the query failed: {error}") from error


def write_query(output_uri: str, sql: str, file_uri: str) -> int:
    """Writes the rows of a query to a file and returns their number.

    The file is `.csv` (lists as JSON) or `.parquet`, a path or an fsspec URI.

    Raises:
      OutputError: if the folder is no finished run, the query is wrong, or the file's kind is unknown.
    """
    folder, name = os.path.split(normalize_uri(file_uri))
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    write = writers.get(os.path.splitext(name)[1].lower())
    if write is None:
        raise OutputError(f"{file_uri!r} must end in {' or '.join(writers)}")
    rows = run_query(output_uri, sql)
    with tempfile.TemporaryDirectory(prefix="spatialbeam-query-") as temporary:
        local = os.path.join(temporary, name)
        write(rows, local)
        Store(folder).put_file(local, name, "application/octet-stream")
    return rows.num_rows


def materialize_query(
    output_uri: str, sql: str, folder_uri: str, *, clips_per_shard: int, on_progress: Callable[[str], None]
) -> Accounting:
    """Writes the clips in a query's column `clip_id` as a new data set.

    Raises:
      OutputError: as `run_query` and `write_subset`; if there is no such column.
    """
    rows = run_query(output_uri, sql)
    if "clip_id" not in rows.column_names:
        raise OutputError("the query must give a column clip_id, e.g. SELECT clip_id FROM clips WHERE status = 'kept'")
    ids = sorted(set(rows["clip_id"].to_pylist()) - {None})
    return write_subset(
        output_uri, ids, folder_uri, how={"query": sql}, clips_per_shard=clips_per_shard, on_progress=on_progress
    )


def run_query(output_uri: str, sql: str) -> pa.Table:
    """The rows of a query over `clips`, `videos`, `shots`, `failures`.

    Raises:
      OutputError: if the folder is no finished run, or the query is wrong.
    """
    try:
        with connect(output_uri) as database:
            result = database.sql(sql)
            if result is None:
                raise OutputError("the query is empty: give one SQL statement")
            return result.arrow().read_all()
    except duckdb.Error as error:
        raise OutputError(f"the query failed: {error}") from error


def _write_csv(rows: pa.Table, path: str) -> None:
    with duckdb.connect() as database:
        nested = [f.name for f in rows.schema if pa.types.is_nested(f.type)]
        database.register("rows", rows)
        replaced = ", ".join(f"to_json({_quoted(name)}) AS {_quoted(name)}" for name in nested)
        flat = database.sql(f"SELECT * {f'REPLACE ({replaced})' if nested else ''} FROM rows").arrow().read_all()
    pv.write_csv(flat, path)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _write_parquet(rows: pa.Table, path: str) -> None:
    pq.write_table(rows, path, compression="zstd")


def _print_lines(result: duckdb.DuckDBPyConnection) -> None:
    print("\t".join(_names(result)))
    while rows := result.fetchmany(MAX_ROWS_SHOWN):
        for row in rows:
            print("\t".join(map(_cell, row)))


def _print_table(result: duckdb.DuckDBPyConnection, console: Console) -> None:
    # As `Text`, since rich reads square brackets in a plain string as styles.
    table = Table(*(Column(Text(name)) for name in _names(result)))
    for row in result.fetchmany(MAX_ROWS_SHOWN):
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)
    if result.fetchone():
        console.print(f"only the first {MAX_ROWS_SHOWN} rows are shown: add LIMIT, or redirect the output")


def _names(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [escape_controls(column[0]) for column in result.description or ()]


def _cell(value: object) -> str:
    """A value as one line without control characters; empty for None."""
    return "" if value is None else escape_controls(value)
