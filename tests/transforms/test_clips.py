from __future__ import annotations

import dataclasses

import pytest

from core.records import ClipStatus
from media.encode import CutSettings
from media.probe import probe_video
from storage.store import Store
from tests.support.clips import CARPHONE, candidate
from tests.support.eager import eager
from transforms.clips import CutClips
from transforms.run_context import RunContext
from transforms.run_stage import RunStage


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def clip(store):
    return candidate(store)


def cut(clip, store, threads=1, **settings):
    stage = CutClips(CutSettings.model_validate(settings))
    (found,) = [clip] | eager(RunStage(stage, RunContext(store.root_uri, num_threads=threads)))
    return found


def test_a_kept_clip_has_the_frames_of_its_interval(clip, store):
    found = cut(dataclasses.replace(clip, status=ClipStatus.KEPT), store)
    with store.local_copy(found.encoded.video) as path:
        assert probe_video(path).header_frames == clip.span.num_frames == found.encoded.num_frames


def test_a_whole_video_is_taken_over_byte_for_byte(clip, store):
    found = cut(dataclasses.replace(clip, status=ClipStatus.KEPT), store, whole_video="copy")
    assert found.encoded.is_copy
    assert store.read_bytes(found.encoded.video.path) == CARPHONE.read_bytes()


def test_threads_change_no_bytes(clip, tmp_path):
    kept = dataclasses.replace(clip, status=ClipStatus.KEPT)
    stores = [Store(str(tmp_path / str(n))) for n in (1, 3)]
    for store in stores:
        RunContext(store.root_uri).make_store()
    one, three = (cut(kept, store, threads=n) for store, n in zip(stores, (1, 3), strict=True))
    assert one.encoded.video.digest == three.encoded.video.digest


def test_rejected_clips_are_not_cut(clip, store):
    assert cut(dataclasses.replace(clip, status=ClipStatus.REJECTED), store).encoded is None
