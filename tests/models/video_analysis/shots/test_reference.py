"""The reference detectors against PySceneDetect, on score series, on synthetic frames and on real videos.

PySceneDetect 0.7 measures the distance of adaptive cuts from cut to cut, 0.6 (which SpatialVID pins) from the last cut
to the newest frame, two processed frames later. So its detectors are driven with 15 - 6 source frames here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode
from scenedetect.detector import FlashFilter as LibraryFlashFilter

from media.decode import VideoReader
from models.video_analysis.shots import ReferenceShotDetector, ShotSettings, bgr_as_opencv
from models.video_analysis.shots.reference import AdaptiveWindow, FlashFilter
from tests.support.paths import DATA, NO_DATA

VIDEOS = DATA / "videos"
STEP = 3
MIN_SCENE_LEN = 15
LIBRARY_ADAPTIVE_LEN = MIN_SCENE_LEN - 2 * STEP
SETTINGS = ShotSettings(mode="reference")

# What SpatialVID's pinned versions give (PySceneDetect 0.6.5.2, OpenCV 4.11.0), frame_skip 2.
PINNED_CUTS = {
    "bbb_0_30.webm": [285, 378, 432, 552],
    "bear_vp9.webm": [30],
    "bikes.mp4": [30, 66, 108, 138, 189, 243],
    "carphone_qcif.mp4": [],
    "dark_concert_pcm.mov": [],
    "desks_h263_vfr.3gp": [],
    "googlework_short.mp4": [
        *(18, 36, 54, 75, 93, 111, 132, 150, 168, 186, 204, 222),
        *(291, 306, 384, 432, 534, 609, 624, 711, 771, 819, 951),
    ],
    "his_girl_friday.mp4": [],
    "nasa_13013.mp4": [129, 204],
    "phone_rotated_vfr.mp4": [],
    "psd_testvideo.mp4": [30, 180, 213, 360, 396, 690],
    "vipe_dog.mp4": [66, 105],
}


class GivenScores(AdaptiveDetector):
    """The library's adaptive detector, handed scores in place of frames."""

    def _calculate_frame_score(self, timecode, frame_img):
        return float(frame_img[0, 0])


def timecode(frame):
    return FrameTimecode(frame, 25.0)


def library_flash_cuts(above):
    library = LibraryFlashFilter(LibraryFlashFilter.Mode.MERGE, MIN_SCENE_LEN)
    return [c.frame_num for i, a in enumerate(above) for c in library.filter(timecode(STEP * i), a)]


def library_cuts(frames):
    """Cuts of the library's two detectors on every third frame."""
    detectors = [
        ContentDetector(threshold=21, min_scene_len=MIN_SCENE_LEN),
        AdaptiveDetector(adaptive_threshold=3.0, min_scene_len=LIBRARY_ADAPTIVE_LEN, luma_only=True),
    ]
    cuts = set()
    for index, bgr in frames:
        height, width = bgr.shape[:2]
        factor = max(height, width) / 256
        if factor > 1:
            size = max(1, round(width / factor)), max(1, round(height / factor))
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR)
        for detector in detectors:
            cuts.update(c.frame_num for c in detector.process_frame(timecode(index), bgr))
    return sorted(cuts)


def own_cuts(frames, count):
    detector = ReferenceShotDetector(SETTINGS)
    for index, bgr in frames:
        detector.push(index, bgr)
    return detector.finish(count)


def wanted_frames(path):
    """Every third frame as OpenCV 4 gives it, and the number of frames."""
    frames, count = [], 0
    with VideoReader(str(path)) as reader:
        for decoded in reader.frames():
            count = decoded.index + 1
            if decoded.index % STEP == 0:
                frames.append((decoded.index, bgr_as_opencv(decoded.frame)))
    return frames, count


@given(st.lists(st.booleans(), max_size=120))
def test_the_flash_filter_is_the_librarys(above):
    own = FlashFilter(MIN_SCENE_LEN)
    assert [c for i, a in enumerate(above) for c in own.push(STEP * i, a)] == library_flash_cuts(above)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2)), max_size=12).map(
        lambda runs: [bool(peaks) and k < peaks for quiet, peaks in runs for k in range(quiet + peaks)]
    )
)
def test_the_flash_filter_is_the_librarys_on_bursts(above):
    own = FlashFilter(MIN_SCENE_LEN)
    assert [c for i, a in enumerate(above) for c in own.push(STEP * i, a)] == library_flash_cuts(above)


def test_a_burst_swallows_its_peaks_and_ends_in_a_late_cut():
    above = [False] * 40
    for i in (6, 9, 12, 15, 17):
        above[i] = True
    own = FlashFilter(MIN_SCENE_LEN)
    assert [(STEP * i, c) for i, a in enumerate(above) for c in own.push(STEP * i, a)] == [(18, 18), (66, 51)]


score = st.one_of(st.just(0.0), st.floats(0, 10), st.floats(10, 200), st.sampled_from([15.0, 45.0, 60.0]))


@given(st.lists(score, max_size=80))
def test_the_adaptive_window_is_the_librarys(scores):
    own = AdaptiveWindow(ratio=3.0, min_score=15.0, min_scene_len=MIN_SCENE_LEN)
    library = GivenScores(min_scene_len=LIBRARY_ADAPTIVE_LEN)
    expected = [
        c.frame_num for i, s in enumerate(scores) for c in library.process_frame(timecode(STEP * i), np.full((1, 1), s))
    ]
    assert [c for i, s in enumerate(scores) for c in own.push(STEP * i, s)] == expected


def test_two_adaptive_cuts_may_be_nine_frames_apart():
    scores = [0.0] * 20
    scores[5] = scores[8] = scores[10] = 100.0
    own = AdaptiveWindow(ratio=3.0, min_score=15.0, min_scene_len=MIN_SCENE_LEN)
    assert [c for i, s in enumerate(scores) for c in own.push(STEP * i, s)] == [15, 24]


@pytest.mark.parametrize("size", [(720, 1280), (300, 200), (100, 90), (3, 900)])
def test_scores_on_frames_are_the_librarys(size):
    rng = np.random.default_rng(0)
    shots = [rng.integers(0, 256, (*size, 3), np.uint8) // (k + 1) for k in range(3)]
    frames = [(STEP * i, shots[i // 12]) for i in range(36)]
    cuts = own_cuts(frames, 108)
    assert cuts == library_cuts(frames)
    assert cuts == [36, 72]


def test_only_every_third_frame_is_wanted_and_odd_sizes_shift_the_grid():
    detector = ReferenceShotDetector(SETTINGS)
    wanted = []
    for index in range(12):
        if detector.wants(index):
            wanted.append(index)
            detector.push(index, np.zeros((8, 10 if index == 3 else 8, 3), np.uint8))
    assert wanted == [0, 3, 4, 7, 10]


def test_misuse_is_refused():
    detector = ReferenceShotDetector(SETTINGS)
    with pytest.raises(ValueError, match="frame 1 was pushed, but frame 0"):
        detector.push(1, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        detector.push(0, np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="frame 0 of 4 was wanted"):
        detector.finish(4)


def test_no_cut_gives_no_cut():
    assert own_cuts([(0, np.zeros((8, 8, 3), np.uint8))], 2) == []
    assert ReferenceShotDetector(SETTINGS).finish(0) == []


@pytest.mark.parametrize("name", sorted(PINNED_CUTS))
def test_real_videos_have_the_cuts_of_the_pinned_versions_and_of_the_library(name):
    if not (VIDEOS / name).exists():
        pytest.skip(NO_DATA)
    frames, count = wanted_frames(VIDEOS / name)
    cuts = own_cuts(frames, count)
    assert cuts == PINNED_CUTS[name]
    assert cuts == library_cuts(frames)


OPENCV_FRAMES = """
import json, sys, zlib, cv2
capture, sums = cv2.VideoCapture(sys.argv[1]), []
while len(sums) < 12:
    good, bgr = capture.read()
    if not good:
        break
    sums.append([zlib.crc32(bgr.tobytes()), *bgr.shape])
print(json.dumps(sums))
"""


@pytest.mark.parametrize(
    "name", ["bikes.mp4", "bear_vp9.webm", "nasa_13013.mp4", "carphone_qcif.mp4", "phone_rotated_vfr.mp4"]
)
def test_frames_are_byte_identical_to_opencv(name):
    """In a process of its own: OpenCV and PyAV bring an FFmpeg each."""
    if not (VIDEOS / name).exists():
        pytest.skip(NO_DATA)
    command = [sys.executable, "-c", OPENCV_FRAMES, str(VIDEOS / name)]
    expected = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    honor_tags = int(cv2.__version__.split(".")[0]) >= 5
    found = []
    with VideoReader(str(VIDEOS / name)) as reader:
        for decoded in reader.frames():
            bgr = bgr_as_opencv(decoded.frame, honor_color_tags=honor_tags)
            found.append([zlib.crc32(bgr.tobytes()), *bgr.shape])
            if len(found) == len(expected):
                break
    assert found == expected
    assert len(found) == 12
