from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from core.records import ClipStatus
from core.scores import AESTHETIC, TEXT_AREA
from models.aesthetic import AestheticSettings
from models.text.scorer import TextSettings
from storage.store import Store
from tests.support.clips import candidate
from tests.support.eager import eager
from transforms.run_context import RunContext
from transforms.run_stage import RunModelStage, RunStage
from transforms.scores import LeaveUnscored, ScoreImages, aesthetic_stage, text_stage


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def clip(store):
    return candidate(store)


class Brightness:
    """Scores a clip by the mean gray level of its sample images."""

    batches: ClassVar[list[int]] = []

    def score_clips(self, clips_rgb_u8, source_sizes):
        Brightness.batches.append(len(clips_rgb_u8))
        assert set(source_sizes) == {(176, 144)}
        return [float(np.mean([image.mean() for image in images])) for images in clips_rgb_u8]


def scored(stage, clips, store):
    run = RunModelStage if isinstance(stage, ScoreImages) else RunStage
    found = clips | eager(run(stage, RunContext(store.root_uri)))
    assert all(clip.failure is None for clip in found)
    return {clip.clip_id: clip.scores.get(AESTHETIC.name) or clip.scores.get(TEXT_AREA.name) for clip in found}


def test_a_model_scores_candidates_once_and_leaves_rejected_clips_alone(clip, store):
    Brightness.batches.clear()
    clips = [clip, dataclasses.replace(clip, clip_id="rejected", status=ClipStatus.REJECTED)]
    first = scored(ScoreImages(AESTHETIC, Brightness), clips, store)
    assert 20 < first[clip.clip_id].value < 235
    assert first["rejected"] is None
    assert sum(Brightness.batches) == 1
    assert scored(ScoreImages(AESTHETIC, Brightness), clips, store) == first
    assert sum(Brightness.batches) == 1


def test_another_version_is_computed_again(clip, store):
    scored(ScoreImages(AESTHETIC, Brightness, version=7), [clip], store)
    Brightness.batches.clear()
    scored(ScoreImages(AESTHETIC, Brightness, version=8), [clip], store)
    assert sum(Brightness.batches) == 1


def test_a_clip_without_sample_images_gets_a_reason(clip, store):
    bare = dataclasses.replace(clip, samples=())
    score = scored(ScoreImages(AESTHETIC, Brightness), [bare], store)[clip.clip_id]
    assert score.value is None and "no sample images" in score.reason


@pytest.mark.parametrize(
    ("make_stage", "settings"), [(text_stage, TextSettings(model="none")), (aesthetic_stage, AestheticSettings())]
)
def test_without_a_model_the_score_is_null_with_a_reason(clip, store, make_stage, settings):
    stage = make_stage(settings)
    assert isinstance(stage, LeaveUnscored)
    score = scored(stage, [clip], store)[clip.clip_id]
    assert score.value is None and score.reason == stage.describe()["reason"]
