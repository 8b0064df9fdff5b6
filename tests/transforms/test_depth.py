from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from core.records import ClipStatus
from models.annotation import AnnotationSettings
from models.depth.mono_depth_file import MonoDepths
from models.registry import ResolvedModel
from storage.store import Store
from tests.support.clips import cut_clip_record
from tests.support.eager import eager
from tests.transforms.handlers.test_depth import Wall
from transforms import depth as stage_module
from transforms.depth import EstimateDepth, depth_stages
from transforms.handlers import depth as handler_module
from transforms.run_context import RunContext
from transforms.run_stage import RunModelStage

SETTINGS = {"max_side_px": 88, "fps": 2.5, "depth": {"metric": "moge-2-vitl", "device": "cpu"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    return store, cut_clip_record(store)


@pytest.fixture
def wall(monkeypatch):
    wall = Wall()
    found = {"metric": ResolvedModel(paths={"model.pt": "/model.pt"}, digest="ab" * 32)}
    monkeypatch.setattr(stage_module, "check_depth_models", lambda settings: found)
    monkeypatch.setattr(handler_module, "load_depth_models", lambda settings: [wall])
    return wall


def run(clip, store):
    stage = EstimateDepth(AnnotationSettings.model_validate(SETTINGS))
    (found,) = [clip] | eager(RunModelStage(stage, RunContext(store.root_uri)))
    assert found.failure is None
    return found.mono_depth


def test_depth_of_the_annotated_frames_is_stored_with_its_model(made, wall):
    store, clip = made
    found = run(clip, store)
    assert (found.metric_model, found.relative_model) == ("moge-2-vitl@abababababababab", None)
    depths = MonoDepths.read(store.read_bytes(found.file.path)).of_frames(np.array([0]), (88, 72))
    assert (depths["metric"].maps == 3).all()
    calls = len(wall.batches)
    assert run(clip, store) == found and len(wall.batches) == calls


def test_rejected_clips_get_no_depth(made, wall):
    store, clip = made
    assert run(dataclasses.replace(clip, status=ClipStatus.REJECTED), store) is None
    assert wall.batches == []


def test_without_a_network_there_is_no_stage(wall):
    assert depth_stages(AnnotationSettings()) == ()
    assert len(depth_stages(AnnotationSettings.model_validate(SETTINGS))) == 1
