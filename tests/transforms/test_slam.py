from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest

from core.annotations import MonoDepth
from models.annotation import AnnotationSettings
from models.registry import ResolvedModel, WeightsError
from models.slam.tracked_frames import TrackedFrames
from storage.store import Store
from tests.support.clips import cut_clip_record
from transforms import slam as stage_module
from transforms.slam import TrackCameras, tracking_stages

SETTINGS = AnnotationSettings.model_validate(
    {"pose": {"model": "megasam", "megasam": {"device": "cpu"}}, "depth": {"metric": "moge-2-vitl", "device": "cpu"}}
)


@pytest.fixture
def torch_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    found = ResolvedModel(paths={"x": "/x"}, digest="ab" * 32)
    monkeypatch.setattr(stage_module, "resolve_model", lambda card, uri: found)


@pytest.fixture
def made(tmp_path):
    store = Store(str(tmp_path))
    clip = cut_clip_record(store)
    file = store.write_bytes("depth.npz", b"depth", "application/x-npz")
    return store, dataclasses.replace(
        clip, mono_depth=MonoDepth(file=file, relative_model=None, metric_model="moge-2-vitl")
    )


def test_the_example_has_the_clip_its_depth_and_known_intrinsics(made, torch_is_installed):
    _, clip = made
    known = dataclasses.replace(clip, extra={"fx": 150.0, "fy": 150.0, "cx": 88.0, "cy": 72.0})
    example = TrackCameras(SETTINGS).example(known)
    assert example.clip.video == clip.encoded.video and example.mono_depth == clip.mono_depth.file
    assert example.known.fx == 150.0 and example.known_size == (clip.width, clip.height)
    assert TrackCameras(SETTINGS).example(clip).known is None


def test_a_clip_without_monocular_depth_is_a_bug(made, torch_is_installed):
    with pytest.raises(ValueError, match="no monocular depth"):
        TrackCameras(SETTINGS).example(dataclasses.replace(made[1], mono_depth=None))


def test_tracked_frames_are_stored_with_their_model(made, torch_is_installed):
    store, clip = made
    stage = TrackCameras(SETTINGS)
    tracked = TrackedFrames(
        frame=np.array([0, 3]),
        cam_from_world=np.tile([0.0, 0, 0, 0, 0, 0, 1], (2, 1)),
        intrinsics_px=np.array([90.0, 90.0, 50.0, 30.0]),
        inverse_depth=np.ones((2, 6, 8), np.float32),
        static=np.ones((2, 6, 8), np.float32),
        disagreement=np.zeros((2, 3, 4), np.float32),
        residual_px=np.zeros(2, np.float32),
        meters_per_unit=None,
        focal_observed=True,
    )
    (camera,) = stage.fields(clip, tracked, stage.output(clip, store)).values()
    assert camera.model == "megasam@abababababababab"
    assert TrackedFrames.from_bytes(store.read_bytes(camera.file.path)).frame.tolist() == [0, 3]


def test_a_single_frame_is_not_tracked(made, torch_is_installed):
    store, clip = made
    stage = TrackCameras(SETTINGS)
    assert stage.fields(clip, None, stage.output(clip, store)) == {"tracked": None}


def test_without_torch_the_job_does_not_start(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install"):
        tracking_stages(SETTINGS)
    assert tracking_stages(AnnotationSettings()) == ()
