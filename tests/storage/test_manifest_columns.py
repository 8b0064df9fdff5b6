from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.manifest_columns import (
    FLAG,
    INTEGER,
    NULL,
    NUMBER,
    TEXT,
    CellError,
    arrow_kind,
    check_names,
    column_name,
    common_kind,
    convert_cell,
    merge_kinds,
)

KINDS = st.sampled_from([NULL, TEXT, INTEGER, NUMBER, FLAG])


@given(KINDS, KINDS, KINDS)
def test_the_common_type_does_not_depend_on_order(a, b, c):
    assert common_kind(a, b) == common_kind(b, a)
    assert common_kind(common_kind(a, b), c) == common_kind(a, common_kind(b, c))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, NUMBER, 3.0),
        (True, FLAG, True),
        (math.nan, NUMBER, None),
        (Decimal("1.50"), TEXT, "1.50"),
        (date(2020, 1, 2), TEXT, "2020-01-02"),
        (timedelta(milliseconds=1500), TEXT, "1.500000"),
        ({"b": 1, "a": [None]}, TEXT, '{"a": [null], "b": 1}'),
    ],
)
def test_cells_are_converted(value, kind, expected):
    found = convert_cell(value, kind)
    assert found == expected or (isinstance(expected, str) and float_equal(found, expected))


def float_equal(found, expected):
    try:
        return float(found) == float(expected)
    except ValueError:
        return False


@pytest.mark.parametrize(("value", "kind"), [(2**63, INTEGER), (2**53 + 1, NUMBER), ("x", INTEGER), ("\udcff", TEXT)])
def test_cells_that_a_column_cannot_hold_are_refused_with_a_remedy(value, kind):
    with pytest.raises(CellError) as error:
        convert_cell(value, kind)
    assert error.value.remedy


def test_names_become_columns():
    assert [column_name(name) for name in ("my place", "status", "1st", "")] == [
        "my_place",
        "manifest_status",
        "manifest_1st",
        "column",
    ]
    with pytest.raises(CellError, match="would both be"):
        check_names(["a b", "A_b"])
    assert merge_kinds([{"a": INTEGER}, {"a": NUMBER, "b": NULL}]) == {"a": NUMBER, "b": NULL}


def test_parquet_types():
    assert arrow_kind(pa.dictionary(pa.int8(), pa.float32())) == NUMBER
    assert arrow_kind(pa.timestamp("us")) == TEXT
