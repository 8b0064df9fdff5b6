"""SQL over the tables of a finished run."""

from __future__ import annotations

import duckdb
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from explore.markup import reveal
from explore.outputs import OutputError, connect

MAX_ROWS_SHOWN = 1000


def print_query(output_uri: str, sql: str, console: Console) -> None:
    """Runs a query over `clips`, `videos`, `shots`, `failures` and shows its rows.

    On a terminal as a table, else as tab-separated lines.

    Raises:
      OutputError: if the folder is no finished run, or the query is wrong.
    """
    try:
        result = connect(output_uri).execute(sql)
        if result is None or result.description is None:
            raise OutputError("the query is empty: give one SQL statement")
        # Rows are computed while they are fetched, so that an error can come as late as that.
        if console.is_terminal:
            _print_table(result, console)
        else:
            _print_lines(result)
    except duckdb.Error as error:
        raise OutputError(f"the query failed: {error}") from error


def _print_lines(result: duckdb.DuckDBPyConnection) -> None:
    print("\t".join(_names(result)))
    while rows := result.fetchmany(MAX_ROWS_SHOWN):
        for row in rows:
            print("\t".join(map(_cell, row)))


def _print_table(result: duckdb.DuckDBPyConnection, console: Console) -> None:
    # As `Text`, since square brackets in a plain string would be taken for styles.
    table = Table(*(Column(Text(name)) for name in _names(result)))
    for row in result.fetchmany(MAX_ROWS_SHOWN):
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)
    if result.fetchone():
        console.print(f"only the first {MAX_ROWS_SHOWN} rows are shown: add LIMIT, or redirect the output")


def _names(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [reveal(column[0]) for column in result.description or ()]


def _cell(value: object) -> str:
    """A value as one line that steers neither the terminal nor the columns."""
    return "" if value is None else reveal(value)
