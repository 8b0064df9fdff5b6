from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from core.thresholds import Limit, ThresholdSettings
from explore.outputs import OutputError, read_table
from explore.rethreshold import print_changes, rethreshold
from tests.support.runs import clip_row, make_run, video_row


def limits(**columns: tuple[float | None, float | None]) -> ThresholdSettings:
    return ThresholdSettings(limits={name: Limit(min=low, max=high) for name, (low, high) in columns.items()})


def printed(changes) -> str:
    file = io.StringIO()
    print_changes(changes, Console(file=file, width=200))
    return file.getvalue()


def test_the_run_s_own_limits_change_nothing(tmp_path):
    changes = rethreshold(make_run(tmp_path, images=False), ThresholdSettings())
    assert (changes.kept_before, changes.kept_after, changes.failed) == (2, 2, 1)
    assert changes.newly_kept == changes.newly_rejected == changes.unscored == ()
    assert changes.reasons == {"luminance_score below 20": 1, "motion_score below 2": 2}


def test_stricter_limits_reject_and_failed_clips_stay_failed(tmp_path):
    changes = rethreshold(make_run(tmp_path, images=False), limits(motion_score=(4.2, None)))
    assert changes.newly_rejected == ("aaaa_00000",)
    assert changes.newly_kept == ()
    assert (changes.kept_after, changes.failed) == (1, 1)
    assert changes.reasons == {"motion_score below 4.2": 3}


def test_looser_limits_keep_and_name_what_no_model_has_seen(tmp_path):
    output = make_run(tmp_path, images=False)
    loose = rethreshold(output, limits(motion_score=(1, None)))
    assert loose.newly_kept == ("bbbb_00000",)
    assert loose.unscored == ()
    with_text = rethreshold(output, limits(motion_score=(1, None), ocr_score=(None, 0.3)))
    assert with_text.newly_kept == with_text.unscored == ("bbbb_00000",)
    assert "1 clips that pass the cheap limits were never scored by the models or annotated" in printed(with_text)
    # There is no aesthetic model at all: no further run of the job would score these clips.
    assert rethreshold(output, limits(motion_score=(1, None), aesthetic_score=(4, None))).unscored == ()


def test_clips_that_were_never_annotated_are_named(tmp_path):
    output = make_run(tmp_path, images=False)
    changes = rethreshold(output, limits(motion_score=(1, None), pose_ok=(1, None)))
    rows = {row["clip_id"]: row for row in read_table(output, "clips").to_pylist()}
    waiting = [key for key, row in rows.items() if row["clip_codec"] is None and row["status"] == "rejected"]
    assert set(changes.unscored) == {key for key in waiting if rows[key]["motion_score"] >= 1} != set()


def test_limits_are_inclusive_and_missing_values_pass_by_default(tmp_path):
    output = make_run(tmp_path, images=False)
    assert rethreshold(output, limits(motion_score=(0.4, 4.5))).kept_after == 4
    strict = ThresholdSettings(limits={"aesthetic_score": Limit(min=4)}, reject_unscored=True)
    changes = rethreshold(output, strict)
    assert changes.kept_after == 0
    assert changes.reasons == {"aesthetic_score is missing": 4}


def test_any_numeric_column_and_no_limit_at_all(tmp_path):
    output = make_run(tmp_path, images=False)
    assert rethreshold(output, limits(start_s=(5, 5))).kept_after == 1
    assert rethreshold(output, ThresholdSettings(limits={"motion_score": None})).kept_after == 4


def test_the_written_table_has_the_new_verdicts_and_the_run_is_not_touched(tmp_path):
    output = make_run(tmp_path / "run", images=False)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    target = tmp_path / "new.parquet"
    changes = rethreshold(output, limits(motion_score=(1, 4.2), ocr_score=(None, 0.3)), str(target))
    assert changes.written == str(target)
    assert str(target) in printed(changes)
    old, new = read_table(output, "clips"), pq.read_table(target)
    assert new.schema.equals(old.schema, check_metadata=True)
    rows = {row["clip_id"]: row for row in new.to_pylist()}
    verdicts = {i: (r["status"], r["rejection_reasons"], r["unchecked_limits"]) for i, r in rows.items()}
    assert verdicts == {
        "aaaa_00000": ("kept", [], []),
        "aaaa_00001": ("rejected", ["motion_score above 4.2"], []),
        "aaaa_00002": ("rejected", ["motion_score below 1"], ["ocr_score"]),
        "bbbb_00000": ("kept", [], ["ocr_score"]),
        "bbbb_00001": ("failed", [], ["aesthetic_score"]),
    }
    for old_row in old.to_pylist():
        new_row = rows[old_row["clip_id"]]
        assert {c for c in old_row if old_row[c] != new_row[c]} <= {
            "status",
            "rejection_reasons",
            "unchecked_limits",
        }
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 20)), min_size=1, max_size=12),
    st.floats(0, 20),
    st.floats(0, 20),
)
def test_kept_are_those_within_the_limits_or_without_a_value(values, one, other):
    low, high = sorted((one, other))
    video = video_row("aaaa", "/v/a.mp4", num_clips=len(values))
    tables = {
        "videos": [video],
        "shots": [],
        "failures": [],
        "clips": [clip_row(video, i, motion_score=value) for i, value in enumerate(values)],
    }
    with tempfile.TemporaryDirectory() as folder:
        changes = rethreshold(make_run(Path(folder), tables, images=False), limits(motion_score=(low, high)))
    passed = [i for i, v in enumerate(values) if v is None or low <= v <= high]
    assert changes.kept_after == len(passed)
    assert changes.newly_rejected == tuple(f"aaaa_{i:05d}" for i in range(len(values)) if i not in passed)
    assert changes.kept_before == len(values)


def test_long_lists_of_changes_are_cut(tmp_path):
    video = video_row("aaaa", "/v/a.mp4", num_clips=50)
    clips = [clip_row(video, i) for i in range(50)]
    tables = {"videos": [video], "clips": clips, "shots": [], "failures": []}
    output = make_run(tmp_path, tables, images=False)
    text = printed(rethreshold(output, limits(motion_score=(None, 0))))
    assert text.count("newly rejected: aaaa_") == 20
    assert "newly rejected: and 30 more" in text
    assert "rejected: motion_score above 0" in text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"manifest\.json"):
        rethreshold(str(tmp_path), ThresholdSettings())
