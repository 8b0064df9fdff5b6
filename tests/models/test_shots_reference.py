"""The reference detectors against PySceneDetect's own, on real videos and on series of scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenedetect import AdaptiveDetector, ContentDetector, SceneManager, open_video

from core.failures import ItemError
from media.decode import VideoReader
from models.shots import ReferenceShotDetector, ShotSettings, bgr_as_opencv

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "videos"
# OpenCV counts frames of these in its own way: no index, a damaged stream, two streams, a text file.
UNLIKE = {"corrupt_h264_testcard.mp4", "truncated_driving.mp4", "truncated_nomoov.mp4", "lfs_pointer.mp4"}
SLOW = {"laion_slides.mp4"}
# OpenCV's own FFmpeg cannot decode AV1 everywhere.
BY_PYAV = {"hdr10_av1_portrait.mp4"}


def library_cuts(path):
    manager = SceneManager()
    manager.add_detector(ContentDetector(threshold=21, min_scene_len=15))
    manager.add_detector(AdaptiveDetector(adaptive_threshold=3.0, min_scene_len=15, luma_only=True))
    manager.detect_scenes(open_video(str(path), backend="pyav" if path.name in BY_PYAV else "opencv"), frame_skip=2)
    return [start.frame_num for start, _ in manager.get_scene_list()[1:]]


def our_cuts(path):
    detector = ReferenceShotDetector(ShotSettings(mode="reference"))
    count = 0
    with VideoReader(str(path)) as reader:
        for decoded in reader.frames():
            count += 1
            if detector.wants(decoded.index):
                # Today's OpenCV believes the stream's colour tags; the one that SpatialVID pins does not.
                detector.push(decoded.index, bgr_as_opencv(decoded.frame, honour_colour_tags=True))
    return detector.finish(count)


def videos():
    shared = sorted(VIDEOS.glob("*")) if VIDEOS.exists() else []
    return [p for p in [*sorted(EXAMPLES.glob("*.mp4")), *shared] if p.name not in UNLIKE | SLOW]


@pytest.mark.parametrize("path", videos(), ids=lambda p: p.name)
def test_cuts_equal_the_librarys(path):
    try:
        ours = our_cuts(path)
    except ItemError as error:
        pytest.fail(f"{path.name} is not readable: {error}")
    assert ours == library_cuts(path)
