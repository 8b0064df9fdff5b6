from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.annotation import AnnotationSettings
from models.registry import ResolvedModel
from storage.shard_members import masks_bytes, read_masks
from storage.store import Store
from tests.support.clips import cut_clip_record, spatial_annotation
from tests.support.eager import eager
from tests.transforms.handlers.test_segmentation import Columns, num_frames
from transforms import segmentation as stage_module
from transforms.handlers import segmentation as handler_module
from transforms.run_context import RunContext
from transforms.run_stage import RunModelStage
from transforms.segmentation import SegmentDynamics, mask_stages

SETTINGS = {"fps": 1.0, "masks": {"model": "sam2.1-hiera-large", "device": "cpu"}}


@pytest.fixture(autouse=True)
def network(monkeypatch):
    found = ResolvedModel(paths={"sam2.1_hiera_large.pt": "/x"}, digest="cd" * 32)
    monkeypatch.setattr(stage_module, "check_mask_model", lambda settings: found)
    monkeypatch.setattr(handler_module, "load_mask_model", lambda settings: Columns())


@pytest.fixture
def made(tmp_path):
    store = Store(str(tmp_path))
    clip = cut_clip_record(store)
    store.write_bytes("clip.mp4", store.read_bytes(clip.encoded.video.path), "video/mp4")
    masks = np.zeros((num_frames(tmp_path, 1.0), 72, 88), bool)
    masks[:, 10, 5] = True
    file = store.write_bytes("masks.npz", masks_bytes(masks), "application/x-npz")
    poses = np.tile([0.0, 0, 0, 0, 0, 0, 1], (len(masks), 1))
    geometry = spatial_annotation(store, poses, masks=file, dynamic_ratio=float(masks.mean()))
    return store, dataclasses.replace(clip, geometry=geometry)


def run(clip, store):
    stage = SegmentDynamics(AnnotationSettings.model_validate(SETTINGS))
    (found,) = [clip] | eager(RunModelStage(stage, RunContext(store.root_uri)))
    assert found.failure is None
    return found.geometry


def test_refined_masks_replace_the_old_ones(made):
    store, clip = made
    found = run(clip, store)
    masks = read_masks(store.read_bytes(found.masks.path))
    assert masks[:, :, 5].all() and found.dynamic_ratio == pytest.approx(1 / 88)
    assert found.masks_model == "sam2.1-hiera-large@cdcdcdcdcdcdcdcd"
    assert found.poses == clip.geometry.poses


def test_clips_without_moving_pixels_are_left_alone(made):
    store, clip = made
    still = dataclasses.replace(clip, geometry=dataclasses.replace(clip.geometry, dynamic_ratio=0.0))
    assert run(still, store) == still.geometry


def test_without_a_network_there_is_no_stage():
    assert mask_stages(AnnotationSettings()) == ()
    assert len(mask_stages(AnnotationSettings.model_validate(SETTINGS))) == 1
