from __future__ import annotations

import numpy as np
import pytest

from models.segmentation.settings import MaskSettings
from storage.shard_members import masks_bytes
from storage.store import Store
from tests.support.clips import CARPHONE
from transforms.handlers import segmentation as handler_module
from transforms.handlers.isolation import Err, IsolatingHandler, Ok
from transforms.handlers.segmentation import MaskHandler, MovingClip


class Columns:
    """Replaces moving pixels by whole columns; propagates the last frame's mask to the first."""

    halvings = 0

    def refine(self, frames_rgb_u8, is_moving):
        assert len(frames_rgb_u8) == len(is_moving)
        return np.broadcast_to(is_moving.any(axis=1, keepdims=True), is_moving.shape).copy()

    def propagate(self, frames_rgb_u8, masks):
        propagated = masks.copy()
        propagated[0] |= masks[-1]
        return propagated


@pytest.fixture
def example(tmp_path, monkeypatch):
    monkeypatch.setattr(handler_module, "load_mask_model", lambda settings: Columns())
    store = Store(str(tmp_path))
    video = store.write_bytes("clip.mp4", CARPHONE.read_bytes(), "video/mp4")

    def make(count):
        masks = np.zeros((count, 72, 88), bool)
        masks[-1, 10, 5] = True
        ref = store.write_bytes(f"{count}.npz", masks_bytes(masks), "application/x-npz")
        return MovingClip(clip_id=f"c{count}", video=video, masks=ref)

    return make


def run(examples, tmp_path, fps, **settings):
    handler = IsolatingHandler(
        MaskHandler(str(tmp_path), MaskSettings(model="sam2.1-hiera-large", device="cpu", **settings), fps)
    )
    return handler.run_inference(examples, handler.load_model())


def num_frames(tmp_path, fps):
    store = Store(str(tmp_path))
    source = handler_module.FrameSource(store=store, fps=fps, max_side_px=88, on_gpu=False)
    return len(source.load(store.write_bytes("clip.mp4", CARPHONE.read_bytes(), "video/mp4")).rgb)


@pytest.mark.parametrize("propagate", [False, True])
def test_regions_are_refined_and_propagated_on_request(example, tmp_path, propagate):
    example(1)
    count = num_frames(tmp_path, 1.0)
    (answer,) = run([example(count)], tmp_path, 1.0, propagate=propagate)
    assert isinstance(answer, Ok) and answer.value.shape == (count, 72, 88)
    assert answer.value[-1, :, 5].all() and answer.value[-1].sum() == 72
    assert answer.value[0].any() == propagate


def test_masks_of_another_number_of_frames_are_an_error(example, tmp_path):
    example(1)
    (answer,) = run([example(num_frames(tmp_path, 1.0) + 1)], tmp_path, 1.0)
    assert isinstance(answer, Err) and "masks for" in answer.message
