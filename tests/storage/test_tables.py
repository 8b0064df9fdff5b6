from __future__ import annotations

import json

import pyarrow as pa
import pytest

from storage.tables import CONVENTIONS, RESERVED_COLUMNS, table_specs


@pytest.mark.parametrize("name", ["clips", "videos", "shots", "failures"])
def test_schemas_say_what_columns_mean(name):
    schema = table_specs({})[name].schema()
    assert all(field.metadata[b"meaning"] for field in schema)
    assert json.loads(schema.metadata[b"conventions"]) == CONVENTIONS
    assert set(table_specs({})[name].sort_key) <= set(schema.names)


def test_columns_of_the_manifest_come_last_and_in_order():
    spec = table_specs({"zeta": "double", "alpha": "null"})["videos"]
    assert spec.names[-2:] == ["alpha", "zeta"] == spec.schema().names[-2:]
    assert [spec.schema().field(name).type for name in spec.names[-2:]] == [pa.string(), pa.float64()]
    assert "alpha" not in table_specs({"alpha": "string"})["shots"].names


def test_names_of_the_tables_are_reserved():
    assert {"clip_id", "source_uri", "pose_ok", "status"} <= RESERVED_COLUMNS
