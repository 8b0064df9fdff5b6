from __future__ import annotations

import datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explore.outputs import OutputError
from explore.warehouse import CLUSTERED_BY, RUN_DATE, table_fields, write_load_file
from storage.store import Store
from storage.tables import table_specs
from tests.support.runs import make_run


@pytest.fixture
def output(tmp_path):
    folder = make_run(tmp_path / "run", images=False)
    Store(folder).write_bytes("run.json", b'{"timing": {"started_unix_s": 1763164800.0}}', "application/json")
    return folder


def test_the_load_file_holds_the_clip_table_and_the_day(output, tmp_path):
    path = str(tmp_path / "load.parquet")
    schema, rows = write_load_file(Store(output), path)
    expected = pq.read_table(f"{output}/clips.parquet")
    found = pq.read_table(path)
    assert rows == len(expected) == len(found)
    assert found.drop_columns(["run_date"]).to_pylist() == expected.to_pylist()
    assert set(found["run_date"].to_pylist()) == {datetime.date(2025, 11, 15)}
    assert schema.names == found.schema.names


def test_fields_fit_what_duckdb_reads_in_the_file(output, tmp_path):
    path = str(tmp_path / "load.parquet")
    schema, _ = write_load_file(Store(output), path)
    seen = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()}
    kinds = {"STRING": "VARCHAR", "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "DATE": "DATE"}
    fields = table_fields(schema)
    assert {f["name"]: kinds[f["type"]] + ("[]" if f["mode"] == "REPEATED" else "") for f in fields} == seen
    assert all(f["description"] for f in fields)


def test_every_type_of_ours_has_its_field():
    schema = table_specs({"license": "string", "rank": "int64"})["clips"].schema().append(RUN_DATE)
    fields = {f["name"]: f for f in table_fields(schema)}
    assert set(CLUSTERED_BY) < set(fields)
    assert (fields["rejection_reasons"]["type"], fields["rejection_reasons"]["mode"]) == ("STRING", "REPEATED")
    assert (fields["sample_frames"]["type"], fields["sample_frames"]["mode"]) == ("INTEGER", "REPEATED")
    assert [fields[n]["type"] for n in ("pose_ok", "motion_score", "num_frames", "rank", "run_date")] == [
        "BOOLEAN",
        "FLOAT",
        "INTEGER",
        "INTEGER",
        "DATE",
    ]
    assert pa.types.is_date(RUN_DATE.type)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"run\.json"):
        write_load_file(Store(str(tmp_path)), str(tmp_path / "x.parquet"))
