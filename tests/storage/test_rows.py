from __future__ import annotations

import dataclasses
import json

import pyarrow as pa

from core.failures import Failure
from core.records import ClipStatus, FailureRecord
from core.scores import NOT_SCORED_REASON
from storage.rows import clip_row, failure_row, sample_document, shot_row, video_row
from storage.store import Store
from storage.tables import table_specs
from tests.support.clips import analyzed_video, candidate, listed_video
from transforms.analyze import read_analysis

FAILURE = Failure(stage="ProbeVideo", error_class="NotAVideo", message="m")


def fits(table, row, extra=None):
    spec = table_specs(extra or {})[table]
    assert set(row) <= set(spec.names)
    return pa.Table.from_pylist([row], schema=spec.schema()).to_pylist()[0]


def test_rows_fit_their_tables(tmp_path):
    store = Store(str(tmp_path))
    video = analyzed_video(store)
    analysis = read_analysis(video, store)
    assert fits("videos", video_row(video, analysis))["num_clips"] == 1
    assert fits("shots", shot_row(video, 0, analysis.shots[0]))["shot_index"] == 0
    clip = dataclasses.replace(candidate(store), extra={"place": "Rome"})
    assert fits("clips", clip_row(clip), {"place": "string"})["place"] == "Rome"


def test_a_failed_video_has_a_row_with_its_failure():
    row = fits("videos", video_row(dataclasses.replace(listed_video(), failure=FAILURE), None))
    assert (row["status"], row["failure_class"], row["num_clips"]) == ("failed", "NotAVideo", None)
    failed = FailureRecord(item="video", key="v", uri="/v.mp4", failure=FAILURE)
    assert fits("failures", failure_row(failed))["error_class"] == "NotAVideo"


def test_scores_of_a_rejected_clip_are_null_with_a_reason(tmp_path):
    clip = dataclasses.replace(candidate(Store(str(tmp_path))), status=ClipStatus.REJECTED)
    assert clip_row(clip)["aesthetic_reason"] == NOT_SCORED_REASON


def test_a_sample_leaves_out_missing_values_and_keeps_types(tmp_path):
    clip = dataclasses.replace(candidate(Store(str(tmp_path))), extra={"weight": 3})
    document = json.loads(sample_document(clip_row(clip), {"weight": "double"}))
    assert "pose_ok" not in document and document["conventions"]["time"]
    assert isinstance(document["weight"], float) and isinstance(document["num_frames"], int)
