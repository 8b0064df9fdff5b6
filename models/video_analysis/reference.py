"""SpatialVID's own way to clips: its two detectors, count-based times, and sample frames by a second decode."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from core.annotations import ClipCandidate, SampleImage, Shot
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import DecodedFrame, VideoReader
from media.images import decode_jpeg, encode_jpeg, reference_sample_image, sample_image
from models.video_analysis.clip_intervals import reference_intervals
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.frame_series import FrameSeries, LuminanceFormula, mean_luminance
from models.video_analysis.settings import SAMPLE_POSITIONS, AnalysisSettings
from models.video_analysis.shots import ReferenceShotDetector, bgr_as_opencv
from models.video_analysis.streaming import ImageWriter

REFERENCE_JPEG_QUALITY = 95


class ReferenceAnalyzer:
    """Shots and clips as SpatialVID's scripts find them; with `parity`, its bugs too.

    Its cuts are known only at the end of the video, so sample images need a second, targeted decode.
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
        self.series.append(decoded.pts, decoded.duration, stat)
        if self._detector.wants(decoded.index):
            self._detector.push(decoded.index, bgr_as_opencv(decoded.frame))

    def finish(self) -> None:
        """Decides cuts, clips and scores; decodes the sample frames."""
        count = len(self.series)
        cuts = self._detector.finish(count)
        if not cuts and self._settings.parity:
            return
        bounds = [0, *cuts, count]
        frames = list(pairwise(bounds))
        self.shots = [self.series.shot(a, b, "cut" if a else "start", a, None) for a, b in frames]
        fps = self._info.nominal_fps or Fraction(count, 1) / self.series.time(count)
        for start, end in reference_intervals(frames, float(fps), self._settings.clips):
            end = min(end, count)
            if end > start:
                self.clips.append(self._clip(self.series.frame_span(start, end)))

    def _clip(self, span: FrameSpan) -> ClipCandidate:
        frames = self._sample_frames(span)
        samples: list[SampleImage] = []
        luminance: list[float] = []
        with VideoReader(self._uri) as reader:
            for frame in frames:
                at_frame = self.series.frame_span(frame, frame + 1)
                for decoded in reader.frames_in(at_frame):
                    jpeg, mean = self._sample(decoded)
                    luminance.append(mean)
                    image = self._write_image(f"frame-{frame:09d}.jpg", jpeg)
                    samples.append(SampleImage(frame=frame, time_s=float(at_frame.start_s), image=image))
        shot_index = max(i for i, s in enumerate(self.shots) if s.start_frame <= span.start_frame)
        return ClipCandidate(
            span=span,
            width=self._info.display_width,
            height=self._info.display_height,
            shot_index=shot_index,
            samples=tuple(samples),
            scores=self.series.scores(span, luminance, inclusive_motion=self._settings.parity),
        )

    def _sample_frames(self, span: FrameSpan) -> list[int]:
        count = span.num_frames
        if self._settings.parity:
            return sorted({span.start_frame + k * (count // 3) for k in range(3)})
        return sorted({span.start_frame + int(p * count) for p in SAMPLE_POSITIONS})

    def _sample(self, decoded: DecodedFrame) -> tuple[bytes, float]:
        """JPEG of a sample frame and its mean luminance (under `parity`: of the decoded JPEG)."""
        if self._settings.parity:
            jpeg = encode_jpeg(
                reference_sample_image(decoded.frame, rotation_deg=self._info.rotation_deg),
                REFERENCE_JPEG_QUALITY,
            )
            return jpeg, mean_luminance(decode_jpeg(jpeg))
        samples = self._settings.samples
        rgb = sample_image(
            decoded.frame,
            samples.max_width_px,
            samples.max_height_px,
            rotation_deg=self._info.rotation_deg,
            is_mirrored=self._info.is_mirrored,
            sample_aspect_ratio=self._info.sample_aspect_ratio,
        )
        return encode_jpeg(rgb, samples.jpeg_quality), mean_luminance(rgb)
