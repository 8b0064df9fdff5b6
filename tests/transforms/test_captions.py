from __future__ import annotations

import dataclasses
import json

import pytest

from core.records import ClipStatus
from models.captions import CaptionSettings
from storage.store import Store
from tests.support.clips import cut_clip_record
from tests.support.eager import eager
from transforms.captions import AskForCaptions, ComposeCaptions, caption_stage
from transforms.run_context import RunContext
from transforms.run_stage import RunStage

SERVER = {"model": "server", "vision": {"base_url": "http://127.0.0.1:9/v1", "name": "m", "timeout_s": 2}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    return store, cut_clip_record(store)


def captioned(clip, store, **settings):
    stage = caption_stage(CaptionSettings.model_validate(settings))
    (found,) = [clip] | eager(RunStage(stage, RunContext(store.root_uri)))
    assert found.failure is None
    return found


def test_measured_values_become_a_caption(made):
    store, clip = made
    caption = captioned(clip, store).caption
    assert caption.scene_summary.startswith("A ") and caption.scene_summary.endswith(".")
    assert caption.model == "embedded-v1" and caption.prompts is None
    assert (caption.scene_type, caption.camera_motion_caption) == ("Unknown", None)
    assert json.loads(store.read_bytes(caption.file.path))["SceneSummary"] == caption.scene_summary


@pytest.mark.parametrize("settings", [{"model": "none"}, {}])
def test_only_kept_clips_are_captioned_and_only_if_wanted(made, settings):
    store, clip = made
    status = ClipStatus.KEPT if settings else ClipStatus.REJECTED
    assert captioned(dataclasses.replace(clip, status=status), store, **settings).caption is None


def test_the_settings_choose_the_captioner():
    assert isinstance(caption_stage(CaptionSettings()), ComposeCaptions)
    assert isinstance(caption_stage(CaptionSettings.model_validate(SERVER)), AskForCaptions)


def test_only_captions_and_refusals_are_kept_for_later_runs():
    stage = AskForCaptions(CaptionSettings.model_validate(SERVER))
    assert stage.is_final({"caption": object(), "caption_reason": None})
    assert stage.is_final({"caption": None, "caption_reason": "Blocked: by the server's filter"})
    assert not stage.is_final({"caption": None, "caption_reason": "Timeout: no answer"})


def test_an_unreachable_server_leaves_the_clip_kept_with_a_reason(made):
    store, clip = made
    quick = SERVER | {"calls": {"max_attempts": 1}}
    found = captioned(clip, store, **quick)
    assert found.status is ClipStatus.KEPT and found.caption is None and found.caption_reason
