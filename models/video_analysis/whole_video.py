"""Analysis of a video as one shot and one clip, without trims."""

from __future__ import annotations

from fractions import Fraction

from core.annotations import ClipCandidate, SampleImage, Shot
from core.failures import ItemError
from core.video_info import VideoInfo
from media.decode import DecodedFrame
from models.video_analysis.frame_meter import FrameMeter, upright_size
from models.video_analysis.frame_series import FrameSeries, LuminanceFormula
from models.video_analysis.sample_images import SampleImageBuffer
from models.video_analysis.settings import AnalysisSettings
from models.video_analysis.streaming import ImageWriter

FIRST_STEP_S = Fraction(1, 5)
MAX_CANDIDATES = 48
"""Maximum number of buffered candidates: a sample is within 1/48 of the video's duration of its position."""


class WholeVideoAnalyzer:
    """Makes one shot and one clip of a stream of frames.

    Sample positions are known only at the end, so the distance of candidates doubles whenever there are too many:
    memory does not grow with the duration.
    """

    def __init__(self, uri: str, info: VideoInfo, settings: AnalysisSettings, write_image: ImageWriter) -> None:
        self._uri = uri
        self._info = info
        self._settings = settings
        self._write_image = write_image
        self._meter = FrameMeter()
        self._samples = SampleImageBuffer(info, settings.samples, FIRST_STEP_S / info.time_base)
        self._size = (0, 0)
        self.series = FrameSeries(info.time_base, LuminanceFormula.of(info))
        self.shots: list[Shot] = []
        self.clips: list[ClipCandidate] = []

    def push(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order.

        Raises:
          ItemError: FormatChange if the frame size or format changes.
        """
        stat, format_changed = self._meter.push(decoded.frame)
        if format_changed:
            raise ItemError(
                "FormatChange",
                f"{self._uri!r} changes its frame size or format at frame {decoded.index}, so it is not one clip",
                "split the video there, or run without analysis.shots.mode=whole.",
            )
        if not decoded.index:
            self._size = upright_size(decoded.frame, self._info)
        self.series.note_damage(decoded)
        self.series.append(decoded.pts, decoded.duration, stat)
        self._samples.offer(decoded)
        if len(self._samples) > MAX_CANDIDATES:
            self._samples.thin()

    def finish(self) -> None:
        """Makes the shot and the clip. Call after the last frame."""
        count = len(self.series)
        if not count:
            return
        self.shots.append(self.series.shot(0, count, "start", 0, None))
        span = self.series.frame_span(0, count)
        samples = self._samples.select(span)
        images = []
        for sample in samples:
            image = self._write_image(f"frame-{sample.frame:09d}.jpg", sample.image.jpeg)
            images.append(SampleImage(frame=sample.frame, time_s=float(sample.pts * self._info.time_base), image=image))
        width, height = self._size
        self.clips.append(
            ClipCandidate(
                span=span,
                width=width,
                height=height,
                shot_index=0,
                samples=tuple(images),
                scores=self.series.scores(span, [s.image.luminance for s in samples]),
            )
        )
