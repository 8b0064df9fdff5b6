from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

import pytest

from beam_pipeline.config import load_config
from beam_pipeline.graph import make_stages
from core.columns import column, columns_of, insert_before, row_of
from core.records import ClipRecord
from core.schema import CLIP_COLUMNS, FAILURE_COLUMNS, SHOT_COLUMNS, VIDEO_COLUMNS
from core.scores import Score
from core.serialization import field_types
from core.stage import get_field, replace_fields
from storage.rows import clip_row
from storage.store import Store
from storage.tables import ARROW_TYPES
from tests.support.clips import cut_clip_record


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: Fraction | None = field(metadata=column("rate", unit="frames a second", range=(0, 60)))
    words: tuple[str, ...] = field(default=(), metadata=column("words", name="texts"))
    secret: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    color: Color = field(metadata=column("color"))
    inner: Inner | None = None


COLUMNS = (*columns_of(Outer, ""), *columns_of(Inner, "inner", prefix="in_", stage="Measure"))


def test_fields_that_are_declared_become_columns():
    assert [(c.name, c.type, c.path, c.stage) for c in COLUMNS] == [
        ("color", str, "color", ""),
        ("in_rate", float, "inner.rate", "Measure"),
        ("texts", list[str], "inner.words", "Measure"),
    ]
    assert COLUMNS[1].description == "rate, frames a second, 0 to 60"
    assert [c.name for c in columns_of(Inner, "", "words")] == ["texts"]


def test_a_row_has_the_values_as_tables_hold_them():
    record = Outer(color=Color.RED, inner=Inner(rate=Fraction(5, 2), words=("a", "b")))
    assert row_of(record, COLUMNS) == {"color": "red", "in_rate": 2.5, "texts": ["a", "b"]}
    assert row_of(Outer(color=Color.RED), COLUMNS) == {"color": "red", "in_rate": None, "texts": None}


def test_columns_are_inserted_by_name():
    assert [c.name for c in insert_before(COLUMNS, "texts", COLUMNS[0])] == ["color", "in_rate", "color", "texts"]
    with pytest.raises(ValueError):
        insert_before(COLUMNS, "none")


@pytest.mark.parametrize("columns", [CLIP_COLUMNS, VIDEO_COLUMNS, SHOT_COLUMNS, FAILURE_COLUMNS])
def test_each_column_is_stated_once_with_type_meaning_and_stage(columns):
    assert len({c.name for c in columns}) == len(columns)
    assert all(c.type in ARROW_TYPES and c.meaning and c.stage for c in columns)


def test_columns_name_the_stage_that_writes_them():
    writes = {s.contract.name: s.contract.writes for s in make_stages(load_config()).clip}
    for c in CLIP_COLUMNS:
        if c.stage in writes and c.field in field_types(ClipRecord):
            assert any(f"{c.path}.".startswith(f"{name}.") for name in writes[c.stage]), c.name


def test_values_of_a_record_have_the_types_of_their_columns(tmp_path):
    clip = cut_clip_record(Store(str(tmp_path)))
    row = clip_row(clip)
    assert list(row) == [c.name for c in CLIP_COLUMNS]
    for c in CLIP_COLUMNS:
        kind = getattr(c.type, "__origin__", c.type)
        assert row[c.name] is None or type(row[c.name]) is kind, c.name


def test_stages_write_single_scores(tmp_path):
    clip = cut_clip_record(Store(str(tmp_path)))
    first = replace_fields(clip, {"scores.ocr": Score(value=0.5), "duplicate_group": "x"})
    both = replace_fields(first, {"scores.aesthetic": Score(value=None, reason="dark", model="m")})
    assert get_field(both, "scores.ocr") == Score(value=0.5)
    assert get_field(clip, "scores.ocr") is None
    row = clip_row(both)
    assert (row["ocr_score"], row["aesthetic_reason"], row["aesthetic_model"]) == (0.5, "dark", "m")
    assert row["duplicate_group"] == "x"
