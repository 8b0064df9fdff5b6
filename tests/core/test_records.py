from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.failures import Failure
from core.records import VideoRecord, make_clip_id, make_video_id
from core.serialization import from_json_text, to_json_text
from storage.store import Store
from tests.support.clips import candidate

FAILURE = Failure(stage="S", error_class="E", message="m")


def test_ids_are_stable():
    assert make_video_id("/videos/a.mp4") == make_video_id("/videos/a.mp4")
    assert len(make_video_id("/videos/\udcff.mp4")) == 16
    assert make_clip_id("v", 7) == "v_00007"


@given(st.text(), st.text())
def test_different_uris_have_different_ids(a, b):
    assert (make_video_id(a) == make_video_id(b)) == (a == b)


def test_a_downloaded_video_is_named_by_its_page():
    video = VideoRecord(video_id="v", uri="/store/video", page_url="https://page", extra={})
    assert (video.source_uri, video.outcome, video.key) == ("https://page", "done", "v")
    failed = VideoRecord(video_id="v", uri="/a.mp4", extra={}, failure=FAILURE)
    assert (failed.source_uri, failed.outcome) == ("/a.mp4", "failed")


def test_a_clip_knows_its_derived_values(tmp_path):
    clip = candidate(Store(str(tmp_path)))
    assert clip.resolution == f"{clip.width}x{clip.height}"
    assert clip.aspect_ratio == clip.width / clip.height
    assert clip.video_path is None
    assert list(clip.sample_frames) == [sample.frame for sample in clip.samples]


def test_a_clip_survives_json_and_stays_small(tmp_path):
    clip = candidate(Store(str(tmp_path)))
    text = to_json_text(clip)
    assert from_json_text(type(clip), text) == clip
    assert len(text) < 10_000
