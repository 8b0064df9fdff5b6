from __future__ import annotations

import dataclasses

from core.failures import Failure
from core.progress import ProgressReader
from core.records import ClipStatus
from storage.store import Store
from tests.support.clips import candidate, listed_video
from tests.support.eager import eager
from transforms.counters import CountRecords, expected, outcome
from transforms.run_context import RunContext


def test_records_pass_and_are_counted(tmp_path):
    context = RunContext(str(tmp_path), progress_folder=str(tmp_path))
    failure = Failure(stage="S", error_class="E", message="m")
    videos = [listed_video(), dataclasses.replace(listed_video(), failure=failure)]
    assert len(videos | eager(CountRecords("videos", outcome, context))) == 2
    videos | eager(CountRecords("videos", expected, context))
    assert ProgressReader(str(tmp_path)).read() == {
        ("videos", "done"): 1,
        ("videos", "failed"): 1,
        ("videos", "expected"): 2,
    }


def test_a_clips_outcome_is_its_status(tmp_path):
    clip = candidate(Store(str(tmp_path)))
    assert outcome(dataclasses.replace(clip, status=ClipStatus.REJECTED)) == "rejected"
