from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.thresholds import DUPLICATE_REASON, Limit, ThresholdSettings, apply_limits

GOOD = {"aesthetic_score": 4.0, "luminance_score": 140.0, "motion_score": 2.0, "ocr_score": 0.3}


def test_limits_are_inclusive_on_both_ends():
    assert apply_limits(GOOD, ThresholdSettings()).is_kept


def test_every_missed_limit_is_named():
    verdict = apply_limits({**GOOD, "luminance_score": 10.0, "motion_score": 20.0}, ThresholdSettings())
    assert verdict.reasons == ("luminance_score below 20", "motion_score above 14")


def test_a_missing_value_is_noted_and_rejects_only_on_demand():
    row = {**GOOD, "aesthetic_score": None}
    assert apply_limits(row, ThresholdSettings()).unchecked == ("aesthetic_score",)
    assert apply_limits(row, ThresholdSettings()).is_kept
    strict = apply_limits(row, ThresholdSettings(reject_unscored=True))
    assert strict.reasons == ("aesthetic_score is missing",)


def test_nan_fails():
    assert not apply_limits({**GOOD, "motion_score": float("nan")}, ThresholdSettings()).is_kept


def test_any_numeric_column_may_be_limited():
    settings = ThresholdSettings(limits={"fps": Limit(min=24), "width": Limit(min=1280)})
    assert apply_limits({"fps": 25.0, "width": 640}, settings).reasons == ("width below 1280",)


def test_columns_of_the_annotation_may_be_limited_and_flags_count_as_numbers():
    settings = ThresholdSettings(limits={"pose_ok": Limit(min=1), "dynamic_ratio": Limit(max=0.4)})
    assert apply_limits({"pose_ok": True, "dynamic_ratio": 0.2}, settings).is_kept
    assert apply_limits({"pose_ok": False, "dynamic_ratio": 0.5}, settings).reasons == (
        "dynamic_ratio above 0.4",
        "pose_ok below 1",
    )


def test_unknown_and_text_columns_are_refused():
    with pytest.raises(ValidationError, match="blur"):
        ThresholdSettings(limits={"blur": Limit(max=1)})
    with pytest.raises(ValidationError, match="resolution"):
        ThresholdSettings(limits={"resolution": Limit(max=1)})


def test_crossed_bounds_are_refused():
    with pytest.raises(ValidationError, match="above max"):
        Limit(min=2, max=1)


def test_near_duplicates_are_rejected_where_that_is_wanted():
    settings = ThresholdSettings(limits={}, reject_duplicates=True)
    row = {"clip_id": "v_1", "duplicate_group": "v_0"}
    assert apply_limits(row, settings).reasons == (DUPLICATE_REASON,)
    assert apply_limits(row | {"duplicate_group": "v_1"}, settings).is_kept
    assert apply_limits(row | {"duplicate_group": None}, settings).is_kept
    assert apply_limits(row, ThresholdSettings(limits={})).is_kept
