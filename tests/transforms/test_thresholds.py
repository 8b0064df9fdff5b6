from __future__ import annotations

import dataclasses

import pytest

from core.records import ClipStatus
from core.thresholds import ThresholdSettings
from storage.store import Store
from tests.support.clips import candidate
from tests.support.eager import eager
from transforms.run_context import RunContext
from transforms.run_stage import RunStage
from transforms.thresholds import apply_thresholds, reject_duplicates, reject_early, reject_late


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return candidate(Store(str(tmp_path_factory.mktemp("store"))))


def judged(make_stage, clip, tmp_path, **settings):
    stage = make_stage(ThresholdSettings(**settings))
    (found,) = [clip] | eager(RunStage(stage, RunContext(str(tmp_path))))
    return found


def test_cheap_limits_reject_before_models_run(clip, tmp_path):
    found = judged(reject_early, clip, tmp_path, limits={"motion_score": {"min": 1e6}, "ocr_score": {"max": 0}})
    assert found.status is ClipStatus.REJECTED
    assert found.rejection_reasons == ("motion_score below 1e+06",)


def test_a_clip_that_passes_early_is_still_undecided(clip, tmp_path):
    found = judged(reject_early, clip, tmp_path, limits={"width": {"min": 1}, "ocr_score": {"max": 0}})
    assert (found.status, found.rejection_reasons, found.unchecked_limits) == (ClipStatus.CANDIDATE, (), ())


def test_without_the_cascade_nothing_is_rejected_early(clip, tmp_path):
    found = judged(reject_early, clip, tmp_path, limits={"width": {"min": 1e6}}, cascade=False)
    assert found.status is ClipStatus.CANDIDATE


@pytest.mark.parametrize(("wanted", "status"), [(True, ClipStatus.REJECTED), (False, ClipStatus.CANDIDATE)])
def test_near_duplicates_are_rejected_where_that_is_wanted(clip, tmp_path, wanted, status):
    twin = dataclasses.replace(clip, duplicate_group="better")
    assert judged(reject_duplicates, twin, tmp_path, limits={}, reject_duplicates=wanted).status is status


def test_the_decision_names_limits_without_a_value(clip, tmp_path):
    found = judged(apply_thresholds, clip, tmp_path, limits={"aesthetic_score": {"min": 4}})
    assert (found.status, found.unchecked_limits) == (ClipStatus.KEPT, ("aesthetic_score",))


def test_columns_of_the_annotation_are_judged_last(clip, tmp_path):
    limits = {"pose_ok": {"min": 1}}
    kept = judged(apply_thresholds, clip, tmp_path, limits=limits)
    assert kept.status is ClipStatus.KEPT
    late = judged(reject_late, kept, tmp_path, limits=limits, reject_unscored=True)
    assert (late.status, late.rejection_reasons) == (ClipStatus.REJECTED, ("pose_ok is missing",))
