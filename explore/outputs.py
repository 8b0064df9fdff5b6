"""Reads a finished run: manifest, tables, `run.json` and accounting."""

from __future__ import annotations

import json
import posixpath
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from core.accounting import Accounting
from storage.manifest import MANIFEST_PATH
from storage.store import Store
from storage.tables import table_specs
from storage.uris import normalize_uri

RUN_FILE = "run.json"
TABLES = ("clips", "videos", "shots", "failures")


class OutputError(ValueError):
    """A folder is not the output of a finished run."""


def read_manifest(output: Store) -> list[dict[str, Any]]:
    """The files of a run as its manifest lists them: path, count, size_bytes, sha256.

    Raises:
      OutputError: if there is no manifest.
    """
    manifest = output.find_bytes(MANIFEST_PATH)
    if manifest is None:
        raise OutputError(f"{output.root_uri!r} holds no {MANIFEST_PATH}: give the --output folder of a finished run")
    files: list[dict[str, Any]] = json.loads(manifest)["files"]
    return files


def read_run(output: Store) -> dict[str, Any]:
    """The content of `run.json`; empty where there is no such file.

    Raises:
      OutputError: if it is no JSON object.
    """
    if not output.exists(RUN_FILE):
        return {}
    try:
        run = json.loads(output.read_bytes(RUN_FILE))
        if not isinstance(run, dict):
            raise ValueError(f"it holds a {type(run).__name__}, not an object")
        return run
    except ValueError as error:
        raise OutputError(
            f"{RUN_FILE} of {output.root_uri!r} cannot be read ({error}): run the job again, or remove the file"
        ) from error


def read_table(output_uri: str, name: str, columns: list[str] | None = None) -> pa.Table:
    """One table of a run, all its files in the order of the manifest.

    Columns that the run's version did not have are null.

    Raises:
      OutputError: if the folder is no finished run.
    """
    output = Store(normalize_uri(output_uri))
    parts = []
    for file in read_manifest(output):
        if file["path"].startswith(f"{name}.parquet/"):
            try:
                with output.fs.open(output.full_path(file["path"]), "rb") as source:
                    table = pq.ParquetFile(source)
                    known = set(table.schema_arrow.names)
                    parts.append(table.read(None if columns is None else [c for c in columns if c in known]))
            except FileNotFoundError as error:
                raise OutputError(
                    f"{file['path']!r} is listed in {MANIFEST_PATH} but gone: run the job again"
                ) from error
    if not parts:
        raise OutputError(f"{output_uri!r} has no table {name!r}: run the job again")
    return _add_missing_columns(pa.concat_tables(parts), name, columns)


def _add_missing_columns(data: pa.Table, name: str, columns: list[str] | None) -> pa.Table:
    for field in table_specs({})[name].schema():
        if field.name not in data.column_names and (columns is None or field.name in columns):
            data = data.append_column(field, pa.nulls(data.num_rows, field.type))
    return data if columns is None else data.select(columns)


def remove_stale_files(output: Store) -> list[str]:
    """Removes shards and table files that the manifest does not list; returns their paths."""
    listed = {file["path"] for file in read_manifest(output)}
    folders = ["shards", *(f"{table}.parquet" for table in TABLES)]
    removed = []
    for folder in folders:
        if not output.exists(folder):
            continue
        for found in output.fs.ls(output.full_path(folder), detail=False):
            path = f"{folder}/{posixpath.basename(found)}"
            if path not in listed:
                output.fs.rm(found)
                removed.append(path)
    return removed


def read_accounting(output_uri: str) -> Accounting:
    """The totals of a finished run, counted in its tables and manifest.

    Raises:
      OutputError: if the folder is no finished run.
    """
    manifest = read_manifest(Store(normalize_uri(output_uri)))
    return Accounting.count(
        videos=read_table(output_uri, "videos", ["status", "num_clips"]).to_pylist(),
        shots=read_table(output_uri, "shots", ["video_id"]).num_rows,
        clip_statuses=read_table(output_uri, "clips", ["status"])["status"].to_pylist(),
        failures=read_table(output_uri, "failures", ["item", "is_bug"]).to_pylist(),
        clips_in_shards=sum(file["count"] for file in manifest if file["path"].startswith("shards/")),
    )


def connect(output_uri: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the run's tables as views `clips`, `videos`, `shots`, `failures`."""
    connection = duckdb.connect()
    for name in TABLES:
        connection.register(name, read_table(output_uri, name))
    return connection


def fetch_rows(database: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """Rows of a query by column name."""
    result = database.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def fetch_pairs(database: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """First to second column of a query."""
    return dict(database.execute(sql).fetchall())


def fetch_scalar(database: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The single value of a query; None without rows."""
    row = database.execute(sql).fetchone()
    return row[0] if row else None
