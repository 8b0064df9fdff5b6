from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.scores import NOT_SCORED_REASON
from core.thresholds import Limit
from explore.charts import draw_histogram
from explore.run_summary import MAX_ROWS, gather_run_summary
from tests.support.runs import clip_row, failure_row, make_run, small_tables, video_row


def histogram_of(summary, column):
    return next(d for d in summary.histograms if d.column.name == column)


def clips_with(column, values):
    video = video_row("aaaa", "/v/a.mp4", num_clips=len(values))
    clips = [clip_row(video, i, **{column: value}) for i, value in enumerate(values)]
    return {"videos": [video], "clips": clips, "shots": [], "failures": []}


def test_figures_of_the_small_run(tmp_path):
    summary = gather_run_summary(make_run(tmp_path), {})
    assert summary.accounting.problems() == []
    assert summary.shots_without_clip == 1
    assert summary.video_s == 80
    assert summary.clip_s == {"kept": 8, "rejected": 8, "failed": 4}
    assert [(r.reason, r.clips, r.alone) for r in summary.reasons] == [
        ("motion_score below 2", 2, 1),
        ("luminance_score below 20", 1, 0),
    ]
    assert summary.unchecked == (("aesthetic_score", 2),)
    assert [(v["video_id"], v["kept"]) for v in summary.videos] == [("cccc", 0), ("bbbb", 0), ("aaaa", 2)]


def test_missing_scores_say_why(tmp_path):
    tables = small_tables()
    tables["clips"][4] |= {"ocr_score": None, "motion_score": None}
    summary = gather_run_summary(make_run(tmp_path, tables), {})
    assert histogram_of(summary, "ocr_score").missing == (
        (NOT_SCORED_REASON, 2),
        ("the clip failed", 1),
    )
    assert histogram_of(summary, "aesthetic_score").missing == (("no weights given", 5),)
    assert histogram_of(summary, "motion_score").missing == (("the clip failed", 1),)


def test_a_score_that_is_missing_without_a_reason_is_counted(tmp_path):
    tables = small_tables()
    tables["clips"][3]["motion_score"] = None
    summary = gather_run_summary(make_run(tmp_path, tables), {})
    assert histogram_of(summary, "motion_score").missing == (("no reason recorded", 1),)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32, min_value=-1e6), min_size=1, max_size=30), st.integers(0, 255))
def test_every_value_is_in_a_bar_or_named_as_missing(values, limit):
    with tempfile.TemporaryDirectory() as folder:
        output = make_run(Path(folder), clips_with("motion_score", values), images=False)
        histogram = histogram_of(gather_run_summary(output, {"motion_score": Limit(min=limit)}), "motion_score")
    finite = [v for v in values if np.isfinite(v)]
    assert histogram.num_values == len(finite) == sum(int(c.sum()) for c in histogram.counts.values())
    assert sum(count for _, count in histogram.missing) == len(values) - len(finite)
    assert histogram.below == sum(v < limit for v in finite)
    assert draw_histogram(histogram).count("<svg") == 1


def test_values_equal_to_a_limit_pass(tmp_path):
    output = make_run(tmp_path, clips_with("motion_score", [2.0, 14.0, 1.99, 14.01]), images=False)
    histogram = histogram_of(gather_run_summary(output, {"motion_score": Limit(min=2, max=14)}), "motion_score")
    assert (histogram.below, histogram.above) == (1, 1)


def test_a_long_tail_does_not_squeeze_the_rest(tmp_path):
    values = [float(v % 10) for v in range(500)] + [1e6]
    output = make_run(tmp_path, clips_with("motion_score", values), images=False)
    histogram = histogram_of(gather_run_summary(output, {}), "motion_score")
    assert histogram.edges[-1] <= 15
    assert histogram.num_beyond == 1
    assert "≥ " in draw_histogram(histogram)


def test_limits_are_drawn_where_they_are(tmp_path):
    output = make_run(tmp_path, clips_with("luminance_score", [0.0, 50.0, 255.0]), images=False)
    limits = {"luminance_score": Limit(min=20, max=140)}
    both = draw_histogram(histogram_of(gather_run_summary(output, limits), "luminance_score"))
    assert both.count('class="limit"') == both.count('class="cutoff"') == 2
    assert "min 20" in both and "max 140" in both
    none = draw_histogram(histogram_of(gather_run_summary(output, {}), "luminance_score"))
    assert 'class="limit"' not in none


def test_long_tables_are_cut_with_problems_first(tmp_path):
    videos = [video_row(f"{i:04d}", f"/v/{i:04d}.mp4") for i in range(MAX_ROWS + 50)]
    videos[-1]["status"] = "failed"
    videos[-2]["decode_errors"] = 3
    failures = [failure_row("input", f"{i}", f"/v/{i}.mp4") for i in range(MAX_ROWS + 50)]
    failures[-1]["is_bug"] = True
    output = make_run(tmp_path, {"videos": videos, "clips": [], "shots": [], "failures": failures})
    summary = gather_run_summary(output, {})
    assert len(summary.videos) == len(summary.failures) == MAX_ROWS
    assert [v["video_id"] for v in summary.videos[:3]] == ["0249", "0248", "0000"]
    assert summary.failures[0]["is_bug"] is True
    assert [(g["is_bug"], g["count"]) for g in summary.failure_groups] == [(False, 249), (True, 1)]


@pytest.mark.parametrize("column", ["luminance_score", "ocr_score", "aesthetic_score"])
def test_values_outside_of_a_scale_still_show(tmp_path, column):
    output = make_run(tmp_path, clips_with(column, [-7.0, 400.0]), images=False)
    histogram = histogram_of(gather_run_summary(output, {}), column)
    assert histogram.edges[0] <= -7 and histogram.edges[-1] >= 400
    assert int(histogram.counts["kept"].sum()) == 2
