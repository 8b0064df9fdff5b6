"""The default shot detector on composed sequences and the labeled real videos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.decode import VideoReader
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.shots import Boundary, BoundaryKind, ShotDetector, ShotSettings
from tests.support.paths import DATA, NO_DATA
from tests.support.rendering import render_shot

FPS = 25


def shot(seed, count):
    """Thumbnails of a rendered shot: moving camera, moving disc."""
    rgb = [cv2.resize(f, (64, 36), interpolation=cv2.INTER_AREA) for f in render_shot(seed, count, (128, 72))]
    return np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2YUV) for f in rgb])


def blend(first, second, length):
    """The last frames of `first` dissolve into the first ones of `second`."""
    weight = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    middle = first[-length:] * (1 - weight) + second[:length] * weight
    return np.concatenate([first[:-length], middle.round().astype(np.uint8), second[length:]])


def black(count):
    image = np.full((count, 36, 64, 3), 128, np.uint8)
    image[..., 0] = 16
    return image


def detect(frames, fps=FPS):
    detector = ShotDetector(ShotSettings())
    found: list[Boundary] = []
    for index, frame in enumerate(frames):
        found += detector.push(frame, index / fps)
        assert all(b.frame < detector.num_final_frames for b in found)
    return found + detector.finish()


def test_cuts_are_found_to_the_frame():
    frames = np.concatenate([shot(1, 40), shot(2, 30), shot(3, 50)])
    assert [(b.start_frame, b.frame, b.kind) for b in detect(frames)] == [(40, 40, "cut"), (70, 70, "cut")]


def test_one_shot_has_no_boundary():
    assert detect(shot(4, 200)) == []


@pytest.mark.parametrize("length", [8, 15, 30])
def test_a_dissolve_is_one_boundary_around_its_frames(length):
    (found,) = detect(blend(shot(1, 100), shot(2, 100), length))
    assert found.kind is BoundaryKind.DISSOLVE
    start, end = 100 - length, 100
    assert start - 2 <= found.start_frame < found.frame <= end + 2
    assert found.confidence > 0.5


def test_fades_to_and_from_black():
    first, second = shot(1, 100), shot(2, 100)
    frames = np.concatenate([blend(first, black(20), 20), black(20), blend(black(20), second, 20)])
    assert [b.kind for b in detect(frames)] == [BoundaryKind.FADE_OUT, BoundaryKind.FADE_IN]


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_flash_is_no_cut(length):
    frames = shot(5, 100)
    frames[50 : 50 + length, ..., 0] = 235
    assert detect(frames) == []


def test_a_whip_pan_is_no_cut():
    wide = next(render_shot(6, 1, (640, 72)))
    offsets = np.concatenate([np.zeros(30), np.arange(0, 500, 40), np.full(30, 480)]).astype(int)
    rgb = [cv2.resize(wide[:, o : o + 128], (64, 36), interpolation=cv2.INTER_AREA) for o in offsets]
    assert detect(np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2YUV) for f in rgb])) == []


def test_a_cut_into_fast_motion_is_found():
    wide = next(render_shot(6, 1, (640, 72)))
    rgb = [cv2.resize(wide[:, o : o + 128], (64, 36), interpolation=cv2.INTER_AREA) for o in range(0, 500, 12)]
    fast = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2YUV) for f in rgb])
    assert [b.frame for b in detect(np.concatenate([shot(7, 40), fast]))] == [40]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(15, 60), min_size=1, max_size=4), st.sampled_from([12, 25, 50]))
def test_boundaries_come_in_order_and_settle_soon(lengths, fps):
    frames = np.concatenate([shot(seed, length) for seed, length in enumerate(lengths, start=1)])
    detector, found = ShotDetector(ShotSettings()), []
    for index, frame in enumerate(frames):
        found += detector.push(frame, index / fps)
        # The lag is bounded: two windows of the gradual search.
        assert index + 1 - detector.num_final_frames <= 2 * 54 * max(1, round(fps / 25)) + 10
    found += detector.finish()
    starts = [b.frame for b in found]
    assert starts == sorted(starts)
    assert starts == list(np.cumsum(lengths[:-1]))


def thumbnails(path):
    meter = FrameMeter()
    with VideoReader(str(path)) as reader:
        for decoded in reader.frames():
            yield meter.push(decoded.frame)[0].thumbnail, float(decoded.pts * reader.time_base)


def test_the_labeled_videos_are_found_nearly_all():
    labels = sorted((DATA / "labels" / "cuts").glob("*.tsv"))
    if not labels:
        pytest.skip(NO_DATA)
    hits = misses = false = 0
    for path in labels:
        if path.name.startswith("laion"):
            continue  # two minutes of slides: the benchmark has it
        rows = [line.split("\t") for line in path.read_text().splitlines() if line[:1].isdigit()]
        detector, found = ShotDetector(ShotSettings()), []
        for thumbnail, time_s in thumbnails(DATA / "videos" / path.name[: -len(".tsv")]):
            found += detector.push(thumbnail, time_s)
        open_frames = [b.frame for b in found + detector.finish()]
        for start, end, kind, _ in rows:
            first, last = (int(end) - 1, int(end) + 1) if kind == "cut" else (int(start) - 2, int(end) + 2)
            inside = [f for f in open_frames if first <= f <= last]
            open_frames = [f for f in open_frames if f not in inside]
            if kind in ("cut", "dissolve", "fade_in", "fade_out"):
                hits += bool(inside)
                misses += not inside
        false += len(open_frames)
    assert 2 * hits / (2 * hits + misses + false) > 0.9
