"""The clip table in a BigQuery emulator, and the saved queries there against DuckDB."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from shutil import which

import pyarrow as pa
import pytest

from beam_pipeline.cli.main import main
from explore import warehouse
from explore.outputs import OutputError, read_table
from explore.query import run_query
from explore.saved_queries import SAVED_QUERIES, to_bigquery
from explore.warehouse import load_clips
from storage.store import Store
from tests.cloud.conftest import NEEDS, free_port
from tests.support.paths import EXAMPLES
from tests.support.runs import make_run, small_tables

pytestmark = pytest.mark.cloud
TABLE = "test-project:warehouse.clips"
VIDEO = EXAMPLES / "carphone_pristine.mp4"


@pytest.fixture(scope="module")
def client(environment, tmp_path_factory):
    """A client of an emulator in its own environment, since it needs another DuckDB."""
    bigquery = pytest.importorskip("google.cloud.bigquery", reason=NEEDS)
    from google.auth.credentials import AnonymousCredentials

    own = Path(sys.prefix) / "bigquery-emulator" / "bin" / "bqemulator"
    command = str(own) if own.exists() else which("bqemulator")
    if command is None:
        pytest.skip("bqemulator is not installed: make test-cloud")
    port, log = free_port(), tmp_path_factory.mktemp("bigquery") / "log"
    ports = ["--rest-port", str(port), "--grpc-port", str(free_port())]
    with log.open("wb") as output:
        process = subprocess.Popen([command, "start", *ports], stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    environment.setenv("BIGQUERY_EMULATOR_HOST", url)
    try:
        wait_until_up(process, f"{url}/bigquery/v2/projects/test-project/datasets", log)
        client = bigquery.Client(project="test-project", credentials=AnonymousCredentials())
        client.create_dataset("warehouse")
        yield client
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(process, url, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the emulator ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the emulator did not come up")


@pytest.fixture
def output(tmp_path):
    return with_run_file(make_run(tmp_path / "run", images=False))


def with_run_file(folder):
    Store(folder).write_bytes("run.json", b'{"timing": {"started_unix_s": 1763164800.0}}', "application/json")
    return folder


@pytest.fixture(autouse=True)
def no_table(client):
    yield
    client.delete_table("test-project.warehouse.clips", not_found_ok=True)


def loaded(client):
    rows = client.query("SELECT * FROM `test-project.warehouse.clips` ORDER BY clip_id").result()
    return [dict(row) for row in rows]


def expected(output):
    """The rows of a run as BigQuery holds them: missing lists are empty."""
    table = read_table(output, "clips")
    lists = {f.name for f in table.schema if pa.types.is_list(f.type)}
    rows = [{k: [] if v is None and k in lists else v for k, v in row.items()} for row in table.to_pylist()]
    return sorted(rows, key=lambda r: r["clip_id"])


def without_day(rows):
    return [{k: v for k, v in row.items() if k != "run_date"} for row in rows]


def test_a_run_is_loaded_with_its_types_and_meanings(client, output):
    assert load_clips(output, TABLE) == 5
    assert without_day(loaded(client)) == expected(output)
    table = client.get_table("test-project.warehouse.clips")
    assert table.time_partitioning.field == "run_date"
    assert table.clustering_fields == ["status", "video_id"]
    fields = {f.name: f for f in table.schema}
    assert (fields["rejection_reasons"].mode, fields["rejection_reasons"].field_type) == ("REPEATED", "STRING")
    assert fields["motion_score"].description.startswith("mean VMAF motion")


@pytest.mark.parametrize("disposition", ["merge", "replace"])
def test_loading_again_doubles_nothing_and_leaves_nothing_behind(client, output, disposition):
    for _ in range(2):
        load_clips(output, TABLE, disposition)
    assert without_day(loaded(client)) == expected(output)
    assert [t.table_id for t in client.list_tables("warehouse")] == ["clips"]


def test_other_runs_stay_or_go_as_asked(client, output, tmp_path):
    tables = small_tables()
    tables["clips"] = [{**row, "clip_id": f"z{row['clip_id']}"} for row in tables["clips"][:2]]
    other = with_run_file(make_run(tmp_path / "other", tables, images=False))
    load_clips(output, TABLE)
    load_clips(other, TABLE)
    assert len(loaded(client)) == 7
    load_clips(other, TABLE, "replace")
    assert without_day(loaded(client)) == expected(other)


def test_the_job_loads_at_its_end(client, tmp_path, capsys):
    arguments = ["--input", str(VIDEO), "--config", "demo", "--set", "text.model=none", "--no-progress"]
    assert main([*arguments, "--output", str(tmp_path), "--direct_num_workers=1", "--bigquery_table", TABLE]) == 0
    assert "clips loaded" in capsys.readouterr().out
    assert without_day(loaded(client)) == expected(str(tmp_path))
    assert main(["load", str(tmp_path), "warehouse.clips"]) == 2
    assert "project:dataset.table" in capsys.readouterr().err


def test_a_missing_data_set_is_told_at_once_or_made(client, output, capsys):
    table = "test-project:fresh.clips"
    assert main(["load", output, table]) == 2
    assert "no data set test-project:fresh" in capsys.readouterr().err
    # A run tells it before it decodes anything.
    assert main(["--input", str(VIDEO), "--output", f"{output}-2", "--bigquery_table", table]) == 2
    assert not Path(f"{output}-2").exists()
    assert main(["load", output, table, "--bigquery_location", "US"]) == 0
    assert [tuple(row) for row in client.query("SELECT count(*) FROM `test-project.fresh.clips`").result()] == [(5,)]


def test_a_service_that_does_not_answer_ends_the_load(client, output, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(warehouse, "ANSWER_TIMEOUT_S", 0.5)
        with pytest.raises(OutputError, match="check network"):
            load_clips(output, TABLE)


def test_saved_queries_give_the_same_there(client, output):
    load_clips(output, TABLE)
    for query in SAVED_QUERIES.values():
        there = [dict(row) for row in client.query(to_bigquery(query.sql, TABLE)).result()]
        assert there == run_query(output, query.sql).to_pylist(), query.name
