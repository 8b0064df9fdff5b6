"""Analysis by the rules of SpatialVID's scripts.

Their detectors, count-based times, a second decode for samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from core.annotations import ClipCandidate, ClipScores, SampleImage, Shot
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import DecodedFrame, VideoReader
from media.images import decode_jpeg, encode_jpeg, reference_sample_image
from models.video_analysis.clip_intervals import ClipSettings, exact
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.frame_series import FrameSeries, LuminanceFormula, mean_luminance
from models.video_analysis.sample_images import RenderedImage, render_image
from models.video_analysis.settings import SAMPLE_POSITIONS, AnalysisSettings
from models.video_analysis.shots import ReferenceShotDetector, bgr_as_opencv
from models.video_analysis.streaming import ImageWriter

REFERENCE_JPEG_QUALITY = 95


class ReferenceAnalyzer:
    """Shots and clips by SpatialVID's rules, without its bugs.

    Cuts are known only at the end of the video, so sample images need a second decode.
    """

    def __init__(self, uri: str, info: VideoInfo, settings: AnalysisSettings, write_image: ImageWriter) -> None:
        self._uri = uri
        self._info = info
        self._settings = settings
        self._write_image = write_image
        self._detector = ReferenceShotDetector(settings.shots)
        self._meter = FrameMeter()
        self.series = FrameSeries(info.time_base, LuminanceFormula.of(info))
        self.shots: list[Shot] = []
        self.clips: list[ClipCandidate] = []

    def push(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order."""
        stat, _ = self._meter.push(decoded.frame)
        self.series.note_damage(decoded)
        self.series.append(decoded.pts, decoded.duration, stat)
        if self._detector.wants(decoded.index):
            self._detector.push(decoded.index, bgr_as_opencv(decoded.frame))

    def finish(self) -> None:
        """Finds cuts, clips and scores, and decodes the sample frames. Call after the last frame."""
        count = len(self.series)
        frames = self._shot_frames(self._detector.finish(count), count)
        self.shots = [self.series.shot(a, b, "cut" if a else "start", a, None) for a, b in frames]
        fps = self._info.nominal_fps or Fraction(count, 1) / self.series.time(count)
        for start, end in reference_intervals(frames, float(fps), self._settings.clips):
            span = self._span(start, min(end, count))
            if span is not None:
                self.clips.append(self._clip(span))

    def _span(self, start_frame: int, end_frame: int) -> FrameSpan | None:
        return self.series.bounded_span(start_frame, end_frame, exact(self._settings.clips.max_s))

    def _clip(self, span: FrameSpan) -> ClipCandidate:
        samples: list[SampleImage] = []
        luminance: list[float] = []
        with VideoReader(self._uri) as reader:
            for frame in self._sample_frames(span):
                at_frame = self.series.frame_span(frame, frame + 1)
                for decoded in reader.frames_in(at_frame):
                    rendered = self._render(decoded)
                    luminance.append(rendered.luminance)
                    image = self._write_image(f"frame-{frame:09d}.jpg", rendered.jpeg)
                    samples.append(SampleImage(frame=frame, time_s=float(at_frame.start_s), image=image))
        shot_index = max(i for i, s in enumerate(self.shots) if s.start_frame <= span.start_frame)
        return ClipCandidate(
            span=span,
            width=self._info.display_width,
            height=self._info.display_height,
            shot_index=shot_index,
            samples=tuple(samples),
            scores=self._scores(span, luminance),
        )

    def _shot_frames(self, cuts: list[int], count: int) -> list[tuple[int, int]]:
        return list(pairwise([0, *cuts, count]))

    def _scores(self, span: FrameSpan, luminance: list[float]) -> ClipScores:
        return self.series.scores(span, luminance)

    def _sample_frames(self, span: FrameSpan) -> list[int]:
        return sorted({span.start_frame + int(p * span.num_frames) for p in SAMPLE_POSITIONS})

    def _render(self, decoded: DecodedFrame) -> RenderedImage:
        return render_image(decoded.frame, self._info, self._settings.samples)


class SpatialVidAnalyzer(ReferenceAnalyzer):
    """Shots and clips as SpatialVID's scripts find them, bug for bug (`analysis.parity`)."""

    def _shot_frames(self, cuts: list[int], count: int) -> list[tuple[int, int]]:
        """No shot at all in a video without cuts."""
        return super()._shot_frames(cuts, count) if cuts else []

    def _span(self, start_frame: int, end_frame: int) -> FrameSpan | None:
        """An interval by count of frames, however long it lasts."""
        return self.series.frame_span(start_frame, end_frame) if end_frame > start_frame else None

    def _scores(self, span: FrameSpan, luminance: list[float]) -> ClipScores:
        """Cheap scores; motion is averaged over one frame too many."""
        motion = self.series.motion_mean(span.start_frame, min(span.end_frame + 1, len(self.series)))
        return dataclasses.replace(super()._scores(span, luminance), motion_score=motion)

    def _sample_frames(self, span: FrameSpan) -> list[int]:
        """Samples at 0, 1/3 and 2/3."""
        return sorted({span.start_frame + k * (span.num_frames // 3) for k in range(3)})

    def _render(self, decoded: DecodedFrame) -> RenderedImage:
        """An image stretched to 640x360, and the luminance of its decoded JPEG."""
        rgb = reference_sample_image(decoded.frame, rotation_deg=self._info.rotation_deg)
        jpeg = encode_jpeg(rgb, REFERENCE_JPEG_QUALITY)
        return RenderedImage(mean_luminance(decode_jpeg(jpeg)), jpeg)


def reference_intervals(shots: Sequence[tuple[int, int]], fps: float, settings: ClipSettings) -> list[tuple[int, int]]:
    """Clip intervals in frames `[start, end)` by SpatialVID's scene_detect and get_clip.

    Times are frame / fps; shot bounds are rounded to 1 ms, trimmed, split greedily, rounded to 1 ms again, and
    converted to frames by rounding half to even.

    Args:
      shots: frames `[start, end)`.
    """
    intervals: list[tuple[int, int]] = []
    for first, last in shots:
        begin, finish = _to_ms(first / fps), _to_ms(last / fps)
        if finish - begin < settings.trim_start_s + settings.trim_end_s:
            continue
        begin, finish = begin + settings.trim_start_s, finish - settings.trim_end_s
        pieces: list[tuple[float, float]] = []
        if finish - begin > settings.max_s:
            while begin + settings.max_s <= finish:
                pieces.append((begin, begin + settings.max_s))
                begin += settings.max_s
        if finish - begin >= settings.min_s:
            pieces.append((begin, finish))
        intervals += [(round(_to_ms(a) * fps), round(_to_ms(b) * fps)) for a, b in pieces]
    return [(a, b) for a, b in intervals if b > a]


def _to_ms(seconds: float) -> float:
    """Seconds rounded by a `HH:MM:SS.mmm` timecode."""
    minutes, rest = divmod(seconds, 60)
    return minutes * 60 + round(rest, 3) if math.isfinite(seconds) else seconds
