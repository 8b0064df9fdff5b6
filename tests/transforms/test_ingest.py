from __future__ import annotations

import apache_beam as beam

from storage.sources import make_spec
from storage.store import Store
from tests.support.clips import CARPHONE, advance, listed_video
from tests.support.eager import eager
from transforms.ingest import ListVideos, ProbeSettings, ProbeVideo
from transforms.run_context import RunContext
from transforms.run_stage import RunStage


class ListThem(beam.PTransform):
    """`ListVideos` starts from the pipeline itself."""

    def __init__(self, *sources):
        super().__init__()
        self._sources = sources

    def expand(self, nothing):
        return nothing.pipeline | ListVideos(self._sources)


def test_each_video_is_listed_once_and_others_become_failures(tmp_path):
    link = tmp_path / "manifest.csv"
    link.write_text(f"uri,id\n{CARPHONE},mine\n{CARPHONE},mine\n")
    videos, failures = [0] | eager(ListThem(make_spec(str(link))))
    assert [video.video_id for video in videos] == ["mine"]
    assert [failure.failure.error_class for failure in failures] == ["DuplicateInput"]


def test_an_id_of_two_videos_is_refused_for_one(tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(CARPHONE.read_bytes())
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"uri,id\n{CARPHONE},mine\n{other},mine\n")
    videos, failures = [0] | eager(ListThem(make_spec(str(manifest))))
    assert len(videos) == 1
    assert [failure.failure.error_class for failure in failures] == ["DuplicateId"]


def test_a_probe_tells_the_container_and_the_fingerprint(tmp_path):
    video = advance(listed_video(), ProbeVideo(ProbeSettings()), Store(str(tmp_path)))
    assert (video.info.codec, video.info.display_width, video.info.display_height) == ("h264", 176, 144)
    assert video.fingerprint


def test_what_is_no_video_fails_alone(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    probed = [listed_video(), listed_video(text)] | eager(
        RunStage(ProbeVideo(ProbeSettings()), RunContext(str(tmp_path)))
    )
    assert sorted(video.failure is None for video in probed) == [False, True]
