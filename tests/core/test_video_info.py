from __future__ import annotations

from core.columns import columns_of
from core.serialization import from_json_text, to_json_text
from core.video_info import VideoInfo
from media.probe import probe_video
from tests.support.clips import CARPHONE


def test_properties_survive_json_exactly():
    info = probe_video(str(CARPHONE))
    assert from_json_text(VideoInfo, to_json_text(info)) == info


def test_the_video_table_has_the_upright_size():
    values = {"info": probe_video(str(CARPHONE))}
    row = {column.name: column.value(values) for column in columns_of(VideoInfo, "info")}
    assert (row["width"], row["height"], row["rotation_deg"]) == (176, 144, 0)
