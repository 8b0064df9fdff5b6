from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from core.records import ClipStatus
from models.annotation import AnnotationSettings
from storage.store import Store
from tests.support.clips import candidate, spatial_annotation
from tests.support.eager import eager
from transforms.motion_labels import LabelMotion
from transforms.run_context import RunContext
from transforms.run_stage import RunStage

NUM_FRAMES = 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def clip(store):
    return dataclasses.replace(candidate(store), status=ClipStatus.KEPT)


def moving_forward(num_missing=0):
    """Poses (n, 7) of a camera that moves forward, NaN in the first frames."""
    poses = np.zeros((NUM_FRAMES, 7))
    poses[:, 6] = 1
    poses[:, 2] = -0.2 * np.arange(NUM_FRAMES)
    poses[:num_missing] = np.nan
    return poses


def labeled(store, clip, geometry, **settings):
    stage = LabelMotion(AnnotationSettings.model_validate(settings))
    (found,) = [dataclasses.replace(clip, geometry=geometry)] | eager(RunStage(stage, RunContext(store.root_uri)))
    assert found.failure is None
    return found.camera_motion


def test_a_forward_motion_is_measured_and_named(store, clip):
    found = labeled(store, clip, spatial_annotation(store, moving_forward()))
    assert json.loads(store.read_bytes(found.instructions.path)) == {f"0->{NUM_FRAMES - 1}": ["Dolly In"]}
    assert found.motion_sentence.startswith("The camera ")
    assert found.trajectory.move_dist > 0 and found.trajectory.rot_angle == pytest.approx(0, abs=1e-9)
    assert found.trajectory.dynamic_ratio is None and "dynamic_ratio" in found.trajectory.missing


def test_frames_without_poses_are_left_out_and_the_sentence_says_so(store, clip):
    found = labeled(store, clip, spatial_annotation(store, moving_forward(num_missing=8)))
    assert list(json.loads(store.read_bytes(found.instructions.path))) == [f"8->{NUM_FRAMES - 1}"]
    assert found.motion_sentence.startswith("From 1.6 s to 3.8 s: The camera ")


def test_a_rotating_camera_has_no_path(store, clip):
    poses = np.zeros((NUM_FRAMES, 7))
    half = 0.02 * np.arange(NUM_FRAMES)
    poses[:, 4], poses[:, 6] = np.sin(half), np.cos(half)
    found = labeled(store, clip, spatial_annotation(store, poses, camera_motion_kind="rotation"))
    assert found.trajectory.rot_angle == pytest.approx(2 * 0.02 * (NUM_FRAMES - 1))
    assert found.trajectory.move_dist is None or found.trajectory.move_dist == 0


def test_clips_without_usable_poses_are_not_labeled(store, clip):
    assert labeled(store, clip, None) is None
    assert labeled(store, clip, spatial_annotation(store, moving_forward(), pose_ok=False)) is None
