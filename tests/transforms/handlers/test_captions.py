from __future__ import annotations

import dataclasses

import pytest

from models.captions import CaptionSettings
from models.captions.captioner import CaptionResult
from storage.store import Store
from tests.support.clips import cut_clip_record
from transforms.handlers import captions as handler_module
from transforms.handlers.captions import CaptionHandler


@pytest.fixture
def made(tmp_path):
    store = Store(str(tmp_path))
    return store, cut_clip_record(store)


def test_each_clip_is_answered_in_order_with_its_measured_values(made, monkeypatch):
    store, clip = made
    asked = []

    def caption(clips, captioners):
        asked.append((len(clips), captioners.vision_tokens, captioners.max_repairs))
        return [CaptionResult() for _ in clips]

    monkeypatch.setattr(handler_module, "caption_clips", caption)
    settings = CaptionSettings.model_validate(
        {"model": "transformers", "transformers": {"max_output_tokens": 77}, "calls": {"max_repairs": 1}}
    )
    answers = CaptionHandler(store.root_uri, settings).run_inference([clip, clip], object())
    assert asked == [(2, 77, 1)]
    assert [measured.width for _, measured in answers] == [clip.width] * 2


def test_batches_are_bounded_and_full_on_a_gpu(made):
    store, clip = made
    for device, least in (("cpu", 1), ("cuda", 6)):
        settings = CaptionSettings.model_validate({"transformers": {"device": device, "batch_size": 6}})
        handler = CaptionHandler(store.root_uri, settings)
        assert handler.batch_elements_kwargs() == {"min_batch_size": least, "max_batch_size": 6}
    assert handler.get_num_bytes([clip, dataclasses.replace(clip, encoded=None)]) == clip.encoded.video.size_bytes
