"""The one decode of a video: shots, clip intervals, luminance, motion and sample images in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from core.facts import ClipCandidate, Shot, VideoAnalysis
from core.video_info import VideoInfo
from media.decode import DecodedFrame, VideoReader
from models.analysis.frame_series import FrameSeries
from models.analysis.reference import ReferenceAnalyser
from models.analysis.settings import AnalysisSettings
from models.analysis.streaming import ImageWriter, MeasuredFrame, VideoAnalyser
from models.analysis.whole import WholeVideoAnalyser

PROGRESS_EVERY_FRAMES = 250

__all__ = ["AnalysisSettings", "analyse_measured", "analyse_video"]


class Analyser(Protocol):
    """What turns frames into shots and clips."""

    series: FrameSeries
    shots: list[Shot]
    clips: list[ClipCandidate]

    def push(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order."""

    def finish(self) -> None:
        """Decides what is still open. Call after the last frame."""


def analyse_video(
    uri: str,
    info: VideoInfo,
    settings: AnalysisSettings,
    write_image: ImageWriter,
    on_frames: Callable[[int], Any] = lambda count: None,
) -> VideoAnalysis:
    """Decodes a video once and returns its shots and candidate clips with scores.

    Args:
      uri: local path or fsspec URI.
      info: what `probe_video` said of it.
      write_image: stores a named JPEG and returns its reference.
      on_frames: told now and then how many further frames are done.

    Raises:
      ItemError: if no frame can be decoded.
    """
    analyser: Analyser
    if settings.shots.mode == "reference":
        analyser = ReferenceAnalyser(uri, info, settings, write_image)
    elif settings.shots.mode == "whole":
        analyser = WholeVideoAnalyser(uri, info, settings, write_image)
    else:
        analyser = VideoAnalyser(info, settings, write_image)
    with VideoReader(uri) as reader:
        for decoded in reader.frames():
            analyser.push(decoded)
            if decoded.index % PROGRESS_EVERY_FRAMES == PROGRESS_EVERY_FRAMES - 1:
                on_frames(PROGRESS_EVERY_FRAMES)
        analyser.finish()
    on_frames(len(analyser.series) % PROGRESS_EVERY_FRAMES)
    return dataclasses.replace(
        _analysis(analyser),
        decode_errors=reader.decode_errors,
        first_decode_error=reader.first_error,
        damaged_frames=reader.damaged_frames,
        timestamp_repairs=reader.timestamp_repairs,
    )


def analyse_measured(
    frames: Iterable[MeasuredFrame], info: VideoInfo, settings: AnalysisSettings, write_image: ImageWriter
) -> VideoAnalysis:
    """As `analyse_video`, from the measured frames of a whole undamaged video."""
    analyser = VideoAnalyser(info, settings, write_image)
    for measured in frames:
        analyser.replay(measured)
    analyser.finish()
    return _analysis(analyser)


def _analysis(analyser: Analyser) -> VideoAnalysis:
    series = analyser.series
    return VideoAnalysis(
        num_frames=len(series),
        duration_s=float(series.time(len(series)) - series.time(0)),
        decode_errors=0,
        first_decode_error=None,
        damaged_frames=0,
        timestamp_repairs=0,
        luminance_mean=series.luminance_mean(0, len(series)),
        motion_mean=series.motion_mean(0, len(series)),
        shots=tuple(analyser.shots),
        clips=tuple(analyser.clips),
    )
