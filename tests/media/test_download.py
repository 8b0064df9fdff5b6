from __future__ import annotations

from pathlib import Path

import pytest

from core.failures import ItemError
from media.decode import VideoReader
from media.download import DownloadSettings, copy_range, download_page, is_page, read_range
from tests.support.page_server import page_server
from tests.support.paths import EXAMPLES

VIDEO = EXAMPLES / "bikes.mp4"


@pytest.fixture
def server():
    pytest.importorskip("yt_dlp", reason="needs the [download] extra")
    with page_server() as running:
        running.files["/watch?v=1"] = ("video/mp4", VIDEO.read_bytes())
        yield running


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://host/watch?v=abc", True),
        ("https://host/video.mp4?token=1", False),
        ("gs://bucket/watch", False),
        ("/videos/watch", False),
    ],
)
def test_pages_are_told_from_files(uri, expected):
    assert is_page(uri) is expected


def test_ranges():
    assert read_range({}) is None
    assert read_range({"range_start_s": 2, "range_end_s": ""}) == (2.0, None)
    assert read_range({"range_start_s": None, "range_end_s": "3.5"}) == (0.0, 3.5)
    for bad in ({"range_start_s": "soon"}, {"range_start_s": 3, "range_end_s": 3}, {"range_start_s": -1}):
        with pytest.raises(ItemError) as caught:
            read_range(bad)
        assert caught.value.error_class == "BadRange"


def test_a_time_range_keeps_frames_and_pts(tmp_path):
    target = str(tmp_path / "part.nut")
    copy_range(str(VIDEO), target, 5.0, 7.0)
    with VideoReader(str(VIDEO)) as reader:
        whole = {float(f.pts * reader.time_base): f.frame.to_ndarray(format="gray").sum() for f in reader.frames()}
    with VideoReader(target) as reader:
        part = {float(f.pts * reader.time_base): f.frame.to_ndarray(format="gray").sum() for f in reader.frames()}
    assert part.items() <= whole.items()
    assert min(part) <= 5.0
    assert set(part) >= {t for t in whole if 5.0 <= t < 6.9}
    assert max(part) < 7.2
    with pytest.raises(ItemError):
        copy_range(str(VIDEO), target, 900.0, None)


def test_a_page_is_downloaded(server, tmp_path):
    path = download_page(f"{server.url}/watch?v=1", str(tmp_path), DownloadSettings(pages=True))
    assert Path(path).read_bytes() == VIDEO.read_bytes()


def test_a_partial_download_is_resumed(server, tmp_path):
    server.breaks["/watch?v=1"] = 4
    settings = DownloadSettings(pages=True, retries=0)
    with pytest.raises(ItemError) as caught:
        download_page(f"{server.url}/watch?v=1", str(tmp_path), settings)
    assert caught.value.error_class == "DownloadFailed"
    server.breaks.clear()
    path = download_page(f"{server.url}/watch?v=1", str(tmp_path), settings)
    assert Path(path).read_bytes() == VIDEO.read_bytes()
    assert server.offsets[-1][1] > 0


@pytest.mark.slow
def test_bad_pages_are_errors(server, tmp_path):
    server.files["/text"] = ("text/html", b"<html><body>no video</body></html>")
    for page, error_class in (("/gone", "DownloadFailed"), ("/text", "DownloadFailed")):
        with pytest.raises(ItemError) as caught:
            download_page(server.url + page, str(tmp_path / page[1:]), DownloadSettings(pages=True, retries=0))
        assert caught.value.error_class == error_class
        assert "\x1b" not in str(caught.value)
    with pytest.raises(ItemError) as caught:
        download_page(f"{server.url}/watch?v=1", str(tmp_path), DownloadSettings(pages=True, max_gib=1e-5))
    assert caught.value.error_class == "VideoTooLarge"
