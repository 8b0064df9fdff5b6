from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from core.records import ClipStatus
from models.annotation import AnnotationSettings
from storage.shard_members import read_npy
from storage.store import Store
from tests.support.clips import cut_clip_record
from tests.support.eager import eager
from tests.support.films import write_film
from transforms.annotation import EstimateGeometry, known_intrinsics
from transforms.run_context import RunContext
from transforms.run_stage import RunStage


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orbit")
    film = write_film(folder / "orbit.mp4", "orbit", seconds=2.0, fps=10)
    store = Store(str(folder / "store"))
    return store, cut_clip_record(store, folder / "orbit.mp4"), film


def annotated(store, clip, **settings):
    stage = EstimateGeometry(AnnotationSettings.model_validate(settings))
    (found,) = [clip] | eager(RunStage(stage, RunContext(store.root_uri)))
    assert found.failure is None
    return found.geometry


def test_a_kept_clip_gets_poses_depth_and_masks(filmed):
    store, clip, film = filmed
    found = annotated(store, clip, max_side_px=256)
    assert found.pose_ok and found.camera_motion_kind == "general"
    frames, times = (read_npy(store.read_bytes(ref.path)) for ref in (found.frames, found.times))
    assert found.num_annotated_frames == len(frames) == 10
    assert np.allclose(times, film.times_s[frames[:, 1]])
    assert read_npy(store.read_bytes(found.poses.path)).shape == (10, 7)
    assert found.depth is not None and found.masks is not None and found.dense_poses is None


def test_intrinsics_of_the_manifest_are_in_pixels_of_the_source(filmed):
    store, clip, film = filmed
    columns = dict(zip(("fx", "fy", "cx", "cy"), film.intrinsics_px[0].tolist(), strict=True))
    found = annotated(store, dataclasses.replace(clip, extra=columns), intrinsics="fix", max_side_px=128)
    assert np.allclose(read_npy(store.read_bytes(found.intrinsics.path)), film.intrinsics_px[0], rtol=1e-6)


@pytest.mark.parametrize(("status", "model"), [(ClipStatus.REJECTED, "spatialbeam"), (ClipStatus.KEPT, "none")])
def test_rejected_clips_and_runs_without_poses_are_not_annotated(filmed, status, model):
    store, clip, _ = filmed
    model = {} if model == "spatialbeam" else {"pose": {"model": model}}
    assert annotated(store, dataclasses.replace(clip, status=status), **model) is None


@pytest.mark.parametrize("wrong", [{}, {"fx": "500"}, {"fy": True}, {"cx": None}, {"cy": float("nan")}, {"fx": 0.0}])
def test_intrinsics_that_are_no_numbers_count_as_unknown(wrong):
    right = {"fx": 500, "fy": 510.0, "cx": 320.0, "cy": 180.0}
    assert known_intrinsics(right).fy == 510.0
    assert known_intrinsics(right | wrong if wrong else {}) is None
