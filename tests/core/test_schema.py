from __future__ import annotations

from core.columns import Tier
from core.schema import (
    CHARTED_COLUMNS,
    CHEAP_FIELDS,
    CLIP_COLUMNS,
    FAILURE_COLUMNS,
    LATE_COLUMNS,
    MODEL_COLUMNS,
    NUMERIC_CLIP_COLUMNS,
    SHOT_COLUMNS,
    VIDEO_COLUMNS,
)
from core.scores import SCORES
from storage.store import Store
from tests.support.clips import candidate

TABLES = (CLIP_COLUMNS, VIDEO_COLUMNS, SHOT_COLUMNS, FAILURE_COLUMNS)


def test_column_names_are_unique_and_all_are_described():
    for columns in TABLES:
        names = [column.name for column in columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning and column.stage for column in columns)


def test_limits_name_numbers_that_are_known_before_the_captions():
    assert {"motion_score", "ocr_score", "pose_ok", "duration_s"} <= set(NUMERIC_CLIP_COLUMNS)
    assert "caption_requests" not in NUMERIC_CLIP_COLUMNS and "motion_sentence" not in NUMERIC_CLIP_COLUMNS
    assert {spec.value_column for spec in SCORES} <= MODEL_COLUMNS
    assert "pose_ok" in LATE_COLUMNS and not MODEL_COLUMNS & LATE_COLUMNS


def test_cheap_columns_need_only_the_analysis():
    assert not CHEAP_FIELDS & {"encoded", "geometry", "scores", "caption"}


def test_charts_have_titles():
    assert all(column.title and column.tier is not Tier.FINAL for column in CHARTED_COLUMNS)


def test_each_clip_column_finds_its_value(tmp_path):
    clip = candidate(Store(str(tmp_path)))
    row = {column.name: column.value(clip) for column in CLIP_COLUMNS}
    assert row["num_frames"] == clip.span.num_frames and row["time_base_num"] == clip.span.time_base.numerator
    assert row["pose_ok"] is None and row["caption_reason"] is None
    assert row["luminance_score"] == clip.cheap_scores.luminance_score
