"""One-pass analysis of a video: shots, clip intervals, luminance, motion and sample images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Protocol

from core.annotations import ClipCandidate, Shot, VideoAnalysis
from core.video_info import VideoInfo
from media.decode import DecodedFrame, VideoReader
from models.video_analysis.frame_series import FrameSeries
from models.video_analysis.reference import ReferenceAnalyzer, SpatialVidAnalyzer
from models.video_analysis.settings import AnalysisSettings
from models.video_analysis.streaming import ImageWriter, MeasuredFrame, VideoAnalyzer
from models.video_analysis.whole_video import WholeVideoAnalyzer

PROGRESS_EVERY_FRAMES = 250
MAX_ROUNDING_STEPS = 2
"""A header's duration may be longer by two usual steps without anything missing."""

__all__ = ["AnalysisSettings", "analyze_measured", "analyze_video"]


class Analyzer(Protocol):
    """Turns frames into shots and candidate clips."""

    series: FrameSeries
    shots: list[Shot]
    clips: list[ClipCandidate]

    def push(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order."""

    def finish(self) -> None:
        """Closes the last shot. Call after the last frame."""


def analyze_video(
    uri: str,
    info: VideoInfo,
    settings: AnalysisSettings,
    write_image: ImageWriter,
    on_frames: Callable[[int], Any] = lambda count: None,
) -> VideoAnalysis:
    """Shots and candidate clips with scores, from one decode of a video.

    Args:
      uri: local path or fsspec URI.
      info: result of `probe_video`.
      write_image: stores a named JPEG and returns its reference.
      on_frames: progress callback with the number of frames since the last call.

    Raises:
      ItemError: if no frame can be decoded.
    """
    analyzer: Analyzer
    if settings.shots.mode == "reference":
        reference = SpatialVidAnalyzer if settings.parity else ReferenceAnalyzer
        analyzer = reference(uri, info, settings, write_image)
    elif settings.shots.mode == "whole":
        analyzer = WholeVideoAnalyzer(uri, info, settings, write_image)
    else:
        analyzer = VideoAnalyzer(info, settings, write_image)
    with VideoReader(uri) as reader:
        for decoded in reader.frames():
            analyzer.push(decoded)
            if decoded.index % PROGRESS_EVERY_FRAMES == PROGRESS_EVERY_FRAMES - 1:
                on_frames(PROGRESS_EVERY_FRAMES)
        analyzer.finish()
    on_frames(len(analyzer.series) % PROGRESS_EVERY_FRAMES)
    return dataclasses.replace(
        _analysis(analyzer, info, reader.num_expected if reader.decode_errors else None),
        decode_errors=reader.decode_errors,
        first_decode_error=reader.first_error,
        damaged_frames=reader.damaged_frames,
        timestamp_repairs=reader.timestamp_repairs,
    )


def analyze_measured(
    frames: Iterable[MeasuredFrame], info: VideoInfo, settings: AnalysisSettings, write_image: ImageWriter
) -> VideoAnalysis:
    """See `analyze_video`; from the measured frames of a whole undamaged video."""
    analyzer = VideoAnalyzer(info, settings, write_image)
    for measured in frames:
        analyzer.replay(measured)
    analyzer.finish()
    return _analysis(analyzer, info)


def _analysis(analyzer: Analyzer, info: VideoInfo, num_expected: int | None = None) -> VideoAnalysis:
    series = analyzer.series
    duration_s = series.duration_s()
    return VideoAnalysis(
        num_frames=len(series),
        duration_s=float(duration_s),
        fps=float(len(series) / duration_s),
        missing_share=_missing_share(info, len(series), duration_s, num_expected),
        decode_errors=0,
        first_decode_error=None,
        damaged_frames=0,
        timestamp_repairs=0,
        luminance_mean=series.luminance_mean(0, len(series)),
        motion_mean=series.motion_mean(0, len(series)),
        shots=tuple(analyzer.shots),
        clips=tuple(analyzer.clips),
    )


def _missing_share(info: VideoInfo, num_frames: int, duration_s: Fraction, num_expected: int | None) -> float | None:
    """Share of the video that is missing; None if unknown.

    By the header's duration or, of damaged ones, the index.
    """
    shares: list[Fraction] = []
    if info.stated_duration_s:
        absent_s = info.stated_duration_s - duration_s
        is_rounding = absent_s * num_frames <= MAX_ROUNDING_STEPS * duration_s
        shares.append(Fraction(0) if is_rounding else absent_s / info.stated_duration_s)
    if num_expected:
        shares.append(1 - Fraction(num_frames, num_expected))
    return max(0.0, *map(float, shares)) if shares else None
