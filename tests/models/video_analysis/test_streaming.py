"""The analysis pass on rendered videos with known shots, against slow simple code."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from core.digest import digest_bytes
from core.references import Ref
from media.decode import VideoReader
from media.images import decode_jpeg, sample_image
from media.planes import planes
from media.probe import probe_video
from models.video_analysis import AnalysisSettings, analyze_video, sample_images
from models.video_analysis.frame_series import LuminanceFormula, mean_luminance
from native.frame_stats import FrameStats
from tests.support.rendering import make_shots_video, render_shot, write_video

SHOTS = [(4.0, 1), (1.5, 2), (33.0, 3), (5.0, 4)]
FPS = 10


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("analysis") / "shots.mp4"
    return str(path), make_shots_video(path, SHOTS, size=(192, 108), fps=FPS)[:-1]


def analyze(path, **changes):
    images = {}

    def write(name, data):
        images[name] = data
        return Ref(path=name, size_bytes=len(data), digest=digest_bytes(data), media_type="image/jpeg")

    counted = []
    settings = AnalysisSettings.model_validate(changes)
    return analyze_video(path, probe_video(path), settings, write, counted.append), images, sum(counted)


def test_shots_tile_the_video_and_open_at_the_cuts(video):
    path, cuts = video
    found, _, counted = analyze(path)
    assert [s.start_frame for s in found.shots] == [0, *cuts]
    assert [s.end_frame for s in found.shots] == [*cuts, found.num_frames]
    assert found.num_frames == counted == sum(round(s * FPS) for s, _ in SHOTS)
    assert [s.boundary_kind for s in found.shots] == ["start", "cut", "cut", "cut"]


def test_clips_stay_inside_their_shots_and_within_the_lengths(video):
    found, _, _ = analyze(video[0])
    spans = [(c.shot_index, c.span.start_frame, c.span.end_frame) for c in found.clips]
    # Trims of 0.3 s; 1.5 s are too short; 32.4 s give one clip of 15 s and two halves of the rest.
    assert spans == [(0, 3, 37), (2, 58, 208), (2, 208, 295), (2, 295, 382), (3, 388, 432)]


def test_scores_equal_a_slow_computation(video):
    path, _ = video
    found, _, _ = analyze(path)
    info = probe_video(path)
    formula = LuminanceFormula.of(info)
    stats, luminance = None, []
    motion = []
    with VideoReader(path) as reader:
        for decoded in reader.frames():
            yuv = planes(decoded.frame)
            stats = stats or FrameStats(
                yuv.width, yuv.height, chroma_width=yuv.chroma_width, chroma_height=yuv.chroma_height
            )
            stat = stats.push((yuv.y, yuv.y_stride), (yuv.u, yuv.uv_stride), (yuv.v, yuv.uv_stride))
            motion.append(stat.motion)
            luminance.append(formula(stat))
    motion2 = np.minimum(motion, [*motion[1:], np.inf])
    for clip in found.clips:
        inside = slice(clip.span.start_frame, clip.span.end_frame)
        assert clip.scores.motion_score == pytest.approx(motion2[inside].mean())
        assert clip.scores.luminance_all_mean == pytest.approx(np.mean(luminance[inside]))
        assert clip.scores.luminance_all_min == pytest.approx(min(luminance[inside]))


def test_samples_are_spread_over_the_clip_and_carry_its_luminance(video):
    found, images, _ = analyze(video[0])
    assert len(images) == sum(len(c.samples) for c in found.clips)
    for clip in found.clips:
        assert len(clip.samples) == 3
        shares = [(s.frame - clip.span.start_frame) / clip.span.num_frames for s in clip.samples]
        assert shares == pytest.approx([1 / 6, 1 / 2, 5 / 6], abs=0.17)
        means = [mean_luminance(decode_jpeg(images[s.image.path])) for s in clip.samples]
        assert clip.scores.luminance_score == pytest.approx(np.mean(means), abs=1.0)
        assert clip.scores.luminance_min == pytest.approx(min(means), abs=1.0)


def test_luminance_of_planes_equals_that_of_pixels(video):
    path, _ = video
    info = probe_video(path)
    formula = LuminanceFormula.of(info)
    with VideoReader(path) as reader:
        decoded = next(iter(reader.frames()))
        yuv = planes(decoded.frame)
        stats = FrameStats(yuv.width, yuv.height, chroma_width=yuv.chroma_width, chroma_height=yuv.chroma_height)
        stat = stats.push((yuv.y, yuv.y_stride), (yuv.u, yuv.uv_stride), (yuv.v, yuv.uv_stride))
        rgb = sample_image(decoded.frame, 4096, 4096)
    assert formula(stat) == pytest.approx(mean_luminance(rgb), abs=0.7)


@pytest.mark.parametrize(("matrix", "full"), [("bt709", False), ("smpte170m", False), ("bt2020nc", True)])
def test_gray_has_the_luminance_of_its_level(video, matrix, full):
    info = replace(probe_video(video[0]), color_matrix=matrix, color_range="full" if full else "limited")
    level = 100
    code = level if full else round(16 + level * 219 / 255)
    stats = FrameStats(64, 64, chroma_width=32, chroma_height=32)
    y, c = bytes([code]) * 64 * 64, bytes([128]) * 32 * 32
    assert LuminanceFormula.of(info)(stats.push((y, 64), (c, 32), (c, 32))) == pytest.approx(level, abs=0.6)


def test_normalized_motion_is_comparable_across_sizes_and_rates(tmp_path):
    frames = list(render_shot(7, 100, (384, 216)))
    half = [cv2.resize(frame, (192, 108), interpolation=cv2.INTER_AREA) for frame in frames]
    scores = {}
    for name, images, fps in (("plain", frames, 20), ("half size", half, 20), ("half rate", frames[::2], 10)):
        path = tmp_path / f"{name}.mp4"
        write_video(path, images, fps=Fraction(fps), options={"crf": "12"})
        found, _, _ = analyze(str(path))
        scores[name] = found.clips[0].scores
    plain = scores["plain"]
    for name in ("half size", "half rate"):
        assert scores[name].motion_normalized / plain.motion_normalized == pytest.approx(1, abs=0.15)
    # The plain score is not: at half the rate things move twice as far between frames.
    assert scores["half rate"].motion_score / plain.motion_score > 1.3


def test_few_images_are_held_at_a_time(video, monkeypatch):
    held = []
    original = sample_images.SampleImageBuffer.offer

    def offer(self, decoded):
        original(self, decoded)
        held.append(len(self))

    monkeypatch.setattr(sample_images.SampleImageBuffer, "offer", offer)
    analyze(video[0])
    # One image a second, for at most two times the longest clip and the detector's lag.
    assert max(held) <= 40


def test_holding_less_memory_gives_the_same_images(video, monkeypatch):
    expected = analyze(video[0])[1]
    renderings = []
    original = sample_images.sample_image
    monkeypatch.setattr(sample_images, "sample_image", lambda *a, **k: renderings.append(1) or original(*a, **k))
    assert analyze(video[0])[1] == expected
    few = len(renderings)
    monkeypatch.setattr(sample_images, "MAX_FRAME_BYTES", 0)
    assert analyze(video[0])[1] == expected
    assert len(renderings) - few > few  # those that no clip chose too


def test_parity_reproduces_the_references_rules(video):
    path, _ = video
    found, images, _ = analyze(path, shots={"mode": "reference"}, parity=True)
    for clip in found.clips:
        count = clip.span.num_frames
        frames = [clip.span.start_frame + k * (count // 3) for k in range(3)]
        assert [s.frame for s in clip.samples] == frames
        decoded = [decode_jpeg(images[s.image.path]) for s in clip.samples]
        assert {p.shape for p in decoded} == {(360, 640, 3)}
        assert clip.scores.luminance_score == pytest.approx(np.mean([mean_luminance(p) for p in decoded]))
    assert found.clips


def test_a_single_take_is_lost_only_under_parity(tmp_path):
    path = tmp_path / "single.mp4"
    make_shots_video(path, [(5.0, 1)], size=(192, 108), fps=FPS)
    assert analyze(str(path), shots={"mode": "reference"}, parity=True)[0].clips == ()
    assert len(analyze(str(path), shots={"mode": "reference"})[0].clips) == 1
    assert len(analyze(str(path))[0].clips) == 1


def test_times_are_those_of_the_container(video):
    path, cuts = video
    found, _, _ = analyze(path)
    info = probe_video(path)
    assert Fraction(found.clips[0].span.start_pts) * info.time_base == Fraction(3, FPS)
    assert found.shots[1].start_s == pytest.approx(cuts[0] / FPS)
