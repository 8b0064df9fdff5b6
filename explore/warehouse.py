"""Loads the clip table of a finished run into BigQuery, atomically and idempotently."""

from __future__ import annotations

import datetime
import json
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from explore.outputs import RUN_FILE, OutputError, read_manifest
from explore.saved_queries import split_table
from storage.store import Store
from storage.uris import normalize_uri

if TYPE_CHECKING:
    from google.cloud import bigquery

Disposition = Literal["merge", "replace"]
RUN_DATE = pa.field(
    "run_date", pa.date32(), metadata={"meaning": "day (UTC) on which the run that found the clip began"}
)
CLUSTERED_BY = ("status", "video_id")
ANSWER_TIMEOUT_S, JOB_TIMEOUT_S = 60.0, 3600.0
logger = logging.getLogger(__name__)
_TYPES = ((pa.types.is_boolean, "BOOLEAN"), (pa.types.is_integer, "INTEGER"), (pa.types.is_floating, "FLOAT"))


def check_warehouse(table: str, location: str | None = None) -> None:
    """Checks the preconditions of `load_clips`: table name, packages, data set.

    Args:
      table: `project:dataset.table`.
      location: where to create a missing data set, e.g. "EU"; None: it must exist.

    Raises:
      OutputError: if not.
    """
    project, dataset, _ = split_table(table)
    try:
        from google.cloud import bigquery
    except ImportError as error:
        raise OutputError("BigQuery needs further packages: pip install 'spatialbeam[gcp]'") from error
    from google.api_core.exceptions import NotFound

    name = f"{project}.{dataset}"
    with _as_output_errors(table):
        client = _client(project)
        try:
            client.get_dataset(name, **_timeouts())
        except NotFound as error:
            if location is None:
                raise OutputError(
                    f"BigQuery knows no data set {project}:{dataset}. Remedy: check the name, or give "
                    "--bigquery_location=LOCATION (EU, US, ...) to have it made there"
                ) from error
            wanted = bigquery.Dataset(name)
            wanted.location = location
            client.create_dataset(wanted, exists_ok=True, **_timeouts())


def load_clips(output_uri: str, table: str, disposition: Disposition = "merge", location: str | None = None) -> int:
    """Loads the clip table of a run into BigQuery and returns its number of rows.

    The table is made if there is none: partitioned by `run_date`, clustered by status and video. Rows go by one load
    job of one Parquet file into a table of their own, and from there by one statement, so that readers see all or
    nothing and a repeated or retried load doubles nothing.

    Args:
      output_uri: local folder or any fsspec URI.
      table: `project:dataset.table`.
      disposition: "merge" replaces rows of the same `clip_id` and keeps others (of other runs); "replace" leaves the
        rows of this run alone.
      location: where to create a missing data set; None: it must exist.

    Raises:
      OutputError: if the folder is no finished run, the packages or the data set are missing, or BigQuery refuses or
        does not answer in time.
    """
    project, dataset, name = split_table(table)
    output = Store(normalize_uri(output_uri))
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bigquery-") as folder:
        path = os.path.join(folder, "clips.parquet")
        schema, rows = write_load_file(output, path)
        check_warehouse(table, location)
        with _as_output_errors(table):
            _load(_client(project), f"{project}.{dataset}.{name}", path, schema, disposition)
    return rows


@contextmanager
def _as_output_errors(table: str) -> Iterator[None]:
    """Turns errors of BigQuery, credentials and network into `OutputError` with a remedy."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise OutputError(
            f"BigQuery did not take the clips into {table!r} ({type(error).__name__}: {error}). "
            "Remedy: check network, credentials and rights on the data set, then `launcher.py load`."
        ) from error


def _timeouts() -> dict[str, Any]:
    """Timeout of a single request, retries included; the client's default is ten minutes."""
    from google.cloud import bigquery

    return {"timeout": ANSWER_TIMEOUT_S, "retry": bigquery.DEFAULT_RETRY.with_timeout(ANSWER_TIMEOUT_S)}


def write_load_file(output: Store, path: str) -> tuple[pa.Schema, int]:
    """Writes the clip table with `run_date` as one local Parquet file; returns schema and rows.

    Raises:
      OutputError: if the folder is no finished run.
    """
    found = output.find_bytes(RUN_FILE)
    if found is None:
        raise OutputError(f"{output.root_uri!r} holds no {RUN_FILE}: give the --output folder of a finished run")
    started = json.loads(found)["timing"]["started_unix_s"]
    run_date = datetime.datetime.fromtimestamp(started, datetime.UTC).date()
    files = [file["path"] for file in read_manifest(output) if file["path"].startswith("clips.parquet/")]
    if not files:
        raise OutputError(f"{output.root_uri!r} has no clip table: run the job again")
    rows = 0
    with output.fs.open(output.full_path(files[0]), "rb") as source:
        schema = pq.read_schema(source).append(RUN_DATE)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for name in files:
            with output.fs.open(output.full_path(name), "rb") as source:
                for batch in pq.ParquetFile(source).iter_batches():
                    dates = pa.array([run_date] * len(batch), RUN_DATE.type)
                    writer.write_batch(pa.record_batch([*batch.columns, dates], schema=schema))
                    rows += len(batch)
    return schema, rows


def table_fields(schema: pa.Schema) -> list[dict[str, str]]:
    """BigQuery fields of one of our tables: name, type, mode, description."""
    fields = []
    for field in schema:
        is_list = pa.types.is_list(field.type)
        value_type = field.type.value_type if is_list else field.type
        kind = next((name for fits, name in _TYPES if fits(value_type)), "STRING")
        meaning = (field.metadata or {}).get(b"meaning", b"").decode()
        fields.append(
            {
                "name": field.name,
                "type": "DATE" if pa.types.is_date(value_type) else kind,
                "mode": "REPEATED" if is_list else "NULLABLE",
                "description": meaning[:1024],
            }
        )
    return fields


def _client(project: str) -> bigquery.Client:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        return bigquery.Client(project=project, credentials=AnonymousCredentials())
    return bigquery.Client(project=project)


def _load(client: bigquery.Client, target: str, path: str, schema: pa.Schema, disposition: Disposition) -> None:
    from google.api_core.exceptions import GoogleAPIError
    from google.cloud import bigquery

    fields = [bigquery.SchemaField.from_api_repr(field) for field in table_fields(schema)]
    _create_table(client, target, fields)
    staging = f"{target}_load_{uuid.uuid4().hex[:12]}"
    lists = bigquery.ParquetOptions()
    lists.enable_list_inference = True
    job = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=fields,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        parquet_options=lists,
    )
    try:
        with open(path, "rb") as file:
            upload = client.load_table_from_file(file, staging, job_config=job, timeout=ANSWER_TIMEOUT_S)
        upload.result(timeout=JOB_TIMEOUT_S)
        merge = client.query(_merge_sql(target, staging, [f.name for f in fields], disposition), **_timeouts())
        merge.result(timeout=JOB_TIMEOUT_S)
    finally:
        try:
            client.delete_table(staging, not_found_ok=True, **_timeouts())
        except (GoogleAPIError, OSError) as error:
            logger.warning("the table %s is left over and can be removed (%s)", staging, error)


def _create_table(client: bigquery.Client, target: str, fields: list[Any]) -> None:
    """Creates the table, or adds missing columns to an older one."""
    from google.cloud import bigquery

    wanted = bigquery.Table(target, schema=fields)
    wanted.time_partitioning = bigquery.TimePartitioning(field=RUN_DATE.name)
    wanted.clustering_fields = list(CLUSTERED_BY)
    table = client.create_table(wanted, exists_ok=True, **_timeouts())
    known = {field.name for field in table.schema}
    if missing := [field for field in fields if field.name not in known]:
        table.schema = [*table.schema, *missing]
        client.update_table(table, ["schema"], **_timeouts())


def _merge_sql(target: str, staging: str, columns: list[str], disposition: Disposition) -> str:
    """MERGE statement that upserts the rows of `staging` into `target`."""
    names = ", ".join(f"`{name}`" for name in columns)
    values = ", ".join(f"s.`{name}`" for name in columns)
    updates = ", ".join(f"`{name}` = s.`{name}`" for name in columns if name != "clip_id")
    sql = (
        f"MERGE `{target}` AS t USING `{staging}` AS s ON t.clip_id = s.clip_id "
        f"WHEN MATCHED THEN UPDATE SET {updates} "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    )
    return sql + (" WHEN NOT MATCHED BY SOURCE THEN DELETE" if disposition == "replace" else "")
