"""Videos analyzed in windows give the same bytes as in one piece."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest

from core.digest import digest_bytes
from core.references import Ref
from core.serialization import to_json_text
from media.probe import probe_video
from models.video_analysis import AnalysisSettings, analyze_measured, analyze_video
from models.video_analysis.sample_images import SampleGrid
from models.video_analysis.windows import (
    UnfitWindowError,
    join_windows,
    measure_window,
    plan_windows,
    read_measured,
)
from tests.support.paths import DATA, NO_DATA
from tests.support.rendering import X265_QUIET, render_shot, write_video

DATA = DATA / "videos"
SETTINGS = AnalysisSettings.model_validate({"clips": {"min_s": 1.0, "max_s": 4.0}})
RANDOM_PTS = np.cumsum(np.random.default_rng(1).integers(1, 9, 200)).tolist()
OPEN_GOP = "keyint=24:min-keyint=24:scenecut=0:open-gop=1:bframes=3:b-adapt=0"
JOINED = {
    "closed.mp4": {"options": {"g": "24", "bf": "3"}},
    "open_gop.mp4": {"options": {"x264-params": OPEN_GOP}},
    "open_gop.mkv": {"options": {"x264-params": OPEN_GOP}},
    "one_key_frame.mp4": {"options": {"x264-params": "keyint=infinite:scenecut=0"}},
    "open_gop_hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": X265_QUIET["x265-params"] + ":keyint=24:open-gop=1:bframes=4:scenecut=0"},
    },
    "b_frames_mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "24", "bf": "2"}},
    "variable.mp4": {"pts": RANDOM_PTS, "time_base": Fraction(1, 100), "options": {"g": "24", "bf": "3"}},
    "variable.mkv": {"pts": RANDOM_PTS, "time_base": Fraction(1, 100), "options": {"g": "24", "bf": "3"}},
    "gap.mp4": {
        "pts": [k if k < 90 else k + 300 for k in range(200)],
        "time_base": Fraction(1, 25),
        "options": {"g": "24", "bf": "3"},
    },
}
REAL = {
    "bikes.mp4": True,
    "nasa_13013.mp4": True,
    "googlework_short.mp4": True,
    "hevc_editlist_rot.mp4": True,
    "bear_vp9.webm": True,
    "desks_h263_vfr.3gp": True,
    "corrupt_h264_testcard.mp4": False,
    "truncated_driving.mp4": False,
}


def images():
    for seed, length in ((1, 60), (2, 50), (3, 90)):
        yield from render_shot(seed, length, (96, 54))


def writer(stored):
    def write(name, data):
        stored[name] = data
        return Ref(path=name, size_bytes=len(data), digest=digest_bytes(data), media_type="image/jpeg")

    return write


def measure(path, info, window_s, folder):
    windows = plan_windows(info, SETTINGS, window_s)
    return [
        measure_window(path, info, SETTINGS, window, str(folder / f"{number}.arrow"))
        for number, window in enumerate(windows)
    ]


def opener(folder):
    @contextmanager
    def open_part(number):
        yield str(folder / f"{number}.arrow")

    return open_part


def compare(path, folder, window_s):
    """Whether windows joined; if so, checks that the result is the whole video's."""
    info = probe_video(str(path))
    parts = measure(str(path), info, window_s, folder)
    assert len(parts) > 1
    stored = {}
    try:
        frames = join_windows(parts, opener(folder))
        joined = analyze_measured(frames, info, SETTINGS, writer(stored))
    except UnfitWindowError:
        return False
    expected = {}
    whole = analyze_video(str(path), info, SETTINGS, writer(expected))
    assert to_json_text(joined) == to_json_text(whole)
    assert stored == expected
    return True


@pytest.mark.parametrize("name", JOINED)
def test_windows_of_odd_streams_give_the_result_of_the_whole(name, tmp_path):
    write_video(tmp_path / name, images(), **JOINED[name])
    for window_s in (0.9, 2.3):
        assert compare(tmp_path / name, tmp_path, window_s)


@pytest.mark.parametrize("name", REAL)
def test_windows_of_real_videos_give_the_result_of_the_whole_or_none(name, tmp_path):
    if not DATA.is_dir():
        pytest.skip(NO_DATA)
    for window_s in (1.1, 5.0):
        info = probe_video(str(DATA / name))
        if info.duration_s >= 1.5 * window_s:
            assert compare(DATA / name, tmp_path, window_s) == REAL[name]


def test_a_change_of_size_inside_a_window_is_seen(tmp_path):
    small = write_video(tmp_path / "small.h264", render_shot(1, 75, (96, 54)), options={"g": "25", "bf": "0"})
    large = write_video(tmp_path / "large.h264", render_shot(2, 75, (128, 72)), options={"g": "25", "bf": "0"})
    path = tmp_path / "both.mkv"
    with av.open(str(path), "w") as output:
        stream, count = None, 0
        for part in (small, large):
            with av.open(str(part), options={"framerate": "25"}) as source:
                stream = stream or output.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream, packet.time_base = stream, Fraction(1, 25)
                        packet.pts, packet.dts, packet.duration = count, count, 1
                        count += 1
                        output.mux(packet)
    whole = analyze_video(str(path), probe_video(str(path)), SETTINGS, writer({}))
    assert [s.boundary_kind for s in whole.shots] == ["start", "format_change"]
    assert compare(path, tmp_path, 1.3)


def test_streams_without_whole_key_frames_are_refused(tmp_path):
    refresh = {"x264-params": "keyint=24:intra-refresh=1:bframes=0"}
    write_video(tmp_path / "refresh.mp4", images(), options=refresh)
    assert not compare(tmp_path / "refresh.mp4", tmp_path, 2.3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    write_video(folder / "video.mp4", images(), **JOINED["closed.mp4"])
    info = probe_video(str(folder / "video.mp4"))
    return folder, info, measure(str(folder / "video.mp4"), info, 2.0, folder)


def test_what_is_measured_is_read_back(measured):
    folder, _, parts = measured
    frames = list(join_windows(parts, opener(folder)))
    assert len(frames) == 200
    assert [f.pts for f in frames] == sorted({f.pts for f in frames})
    assert all(f.stat.thumbnail.shape == (36, 64, 3) for f in frames)
    # One image for each third of the shortest clip, in the window that owns it.
    assert sum(f.image is not None for f in frames) == 24
    lead = [f for n, p in enumerate(parts) for f in list(read_measured(str(folder / f"{n}.arrow")))[: p.num_lead]]
    assert len(lead) > 50 and not any(f.image for f in lead)


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (1, {"unfit": "frames are damaged"}, "damaged"),
        (1, {"num_lead": 20}, "other frames"),
        (0, {"next_pts": 123456}, "ends at 123456"),
        (0, {"next_pts": None}, "ends at None"),
    ],
)
def test_windows_that_do_not_fit_are_refused(measured, number, change, said):
    folder, _, parts = measured
    parts = [dataclasses.replace(p, **change) if n == number else p for n, p in enumerate(parts)]
    with pytest.raises(UnfitWindowError, match=said):
        list(join_windows(parts, opener(folder)))


def test_another_image_in_the_overlap_is_seen(measured, tmp_path):
    folder, info, parts = measured
    other = write_video(tmp_path / "other.mp4", (255 - i for i in images()), **JOINED["closed.mp4"])
    windows = plan_windows(info, SETTINGS, 2.0)
    measure_window(str(other), info, SETTINGS, windows[2], str(tmp_path / "2.arrow"))

    @contextmanager
    def open_part(number):
        yield str((tmp_path if number == 2 else folder) / f"{number}.arrow")

    with pytest.raises(UnfitWindowError, match="different frames"):
        list(join_windows(parts, open_part))


def test_short_and_unsuited_videos_are_not_split(measured):
    _, info, _ = measured
    assert len(plan_windows(info, SETTINGS, 2.0)) == 4
    assert plan_windows(info, SETTINGS, 600) == []
    for change in ({"duration_s": None}, {"container": "mpegts"}):
        assert plan_windows(dataclasses.replace(info, **change), SETTINGS, 2.0) == []
    reference = AnalysisSettings.model_validate({"shots": {"mode": "reference"}})
    assert plan_windows(info, reference, 2.0) == []


def test_which_frames_are_held_depends_on_their_neighbors_alone():
    every = Fraction(10, 3)
    pts = [0, 1, 4, 5, 9, 21, 22, 23, 24, 30, 31]
    whole, late = SampleGrid(every), SampleGrid(every)
    due = {p for p in pts if whole.is_due(p)}
    assert due == {0, 4, 9, 21, 24, 30}
    assert {p for p in pts[5:] if late.is_due(p)} == {p for p in due if p >= 21}
