from __future__ import annotations

import pickle

from core.references import Ref
from models.slam.settings import MegasamSettings
from transforms.handlers.clips import ClipVideo
from transforms.handlers.slam import TrackExample, TrackingHandler


def test_batches_are_bounded_and_full_on_a_gpu(tmp_path):
    for device, least in (("cpu", 1), ("cuda", 5)):
        settings = MegasamSettings(device=device, clips_at_once=5)
        handler = TrackingHandler(str(tmp_path), settings, 5.0, 640, "estimate")
        copy = pickle.loads(pickle.dumps(handler))
        assert copy.batch_elements_kwargs() == {"min_batch_size": least, "max_batch_size": 5}


def test_the_size_of_a_batch_is_that_of_its_clips(tmp_path):
    handler = TrackingHandler(str(tmp_path), MegasamSettings(), 5.0, 640, "estimate")
    ref = Ref(path="x", size_bytes=7, digest="", media_type="")
    example = TrackExample(clip=ClipVideo(clip_id="c", video=ref), mono_depth=ref, known=None, known_size=(640, 360))
    assert handler.get_num_bytes([example, example]) == 14
    assert handler.get_metrics_namespace() == "tracking"
