from __future__ import annotations

import numpy as np
import pytest

from core.failures import ItemError
from core.references import Ref
from media.clip_frames import ClipFrame
from models.depth.mono_depth import FrameDepths
from models.depth.mono_depth_file import MonoDepths
from models.depth.settings import DepthSettings
from transforms.handlers import depth as handler_module
from transforms.handlers.clips import ClipVideo, FrameSource
from transforms.handlers.isolation import Err, IsolatingHandler, Ok

EXAMPLES = [
    ClipVideo(clip_id=name, video=Ref(path=name, size_bytes=1, digest="", media_type="")) for name in ("a", "bad", "b")
]


class Wall:
    """A metric network that predicts a wall three meters away and records its batches."""

    kind = "metric"
    halvings = 0

    def __init__(self, value: float = 3.0) -> None:
        self.batches: list[int] = []
        self.value = value

    def predict(self, frames_rgb_u8, size):
        self.batches.append(len(frames_rgb_u8))
        maps = np.full((len(frames_rgb_u8), size[1], size[0]), self.value, np.float32)
        return FrameDepths(maps=maps, is_valid=np.ones(maps.shape, bool), focal_px=np.full(len(maps), 100.0))


@pytest.fixture
def make_handler(monkeypatch, tmp_path):
    def read(source, video):
        for index in range(3):
            if video.path == "bad" and index == 2:
                raise ItemError("Broken", "it is broken.")
            yield ClipFrame(rgb=np.zeros((9, 16, 3), np.uint8), index=2 * index, time_s=float(index))

    def make(network):
        monkeypatch.setattr(handler_module, "load_depth_models", lambda settings: [network])
        settings = DepthSettings(device="cpu", batch_mib=1)
        return IsolatingHandler(handler_module.DepthHandler(str(tmp_path), settings, 5.0, 16))

    monkeypatch.setattr(FrameSource, "read", read)
    # Groups of two frames end inside of clips.
    monkeypatch.setattr(handler_module, "_size_bytes", lambda item: 1 << 19)
    return make


def test_an_unreadable_clip_costs_its_batch_nothing(make_handler):
    wall = Wall()
    handler = make_handler(wall)
    answers = handler.run_inference(EXAMPLES, handler.load_model())
    assert [type(answer) for answer in answers] == [Ok, Err, Ok]
    assert answers[1].error_class == "Broken"
    found = MonoDepths.read(answers[0].value.to_bytes()).of_frames(np.array([0, 4]), (16, 9))
    assert found["metric"].maps.shape == (2, 9, 16) and (found["metric"].maps == 3).all()
    assert max(wall.batches) == 2


def test_maps_that_are_not_finite_are_an_error_with_a_remedy(make_handler):
    handler = make_handler(Wall(value=np.nan))
    (answer,) = handler.run_inference(EXAMPLES[:1], handler.load_model())
    assert answer.error_class == "DepthNotFinite" and "annotate.depth.precision" in answer.message
