"""Streaming analysis: shots and clips of a video while it is decoded, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol, Self

from core.annotations import ClipCandidate, SampleImage, Shot
from core.arrays import UInt8Array
from core.references import Ref
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import DecodedFrame
from models.video_analysis.clip_intervals import exact, split_shot
from models.video_analysis.frame_meter import FrameMeter, upright_size
from models.video_analysis.frame_series import FrameSeries, LuminanceFormula
from models.video_analysis.sample_images import RenderedImage, SampleImageBuffer, sample_step
from models.video_analysis.settings import AnalysisSettings
from models.video_analysis.shots import Boundary, ShotDetector, TransNetDetector
from native.frame_stats import FrameStat

ImageWriter = Callable[[str, bytes], Ref]
BATCH_FRAMES = 16


class ShotBoundaryDetector(Protocol):
    """Detects shot boundaries in a stream of thumbnails."""

    @property
    def num_final_frames(self) -> int:
        """Number of frames from the start whose boundaries are final."""

    def push(self, thumbnail: UInt8Array, time_s: float) -> list[Boundary]:
        """Takes the next frame; returns newly final boundaries, in order."""

    def finish(self) -> list[Boundary]:
        """The remaining boundaries. Call after the last frame."""


class MeasuredFrame(NamedTuple):
    """Measured values of a frame.

    Attributes:
      pts, duration: in ticks of the video's time base.
      stat: frame statistics of the native kernels.
      size: width and height of the upright frame, pixels.
      format_changed: whether size or format differ from the previous frame.
      follows_gap: whether frames are missing before it.
      image: sample image of a candidate frame, else None.
    """

    pts: int
    duration: int
    stat: FrameStat
    size: tuple[int, int]
    format_changed: bool
    follows_gap: bool
    image: RenderedImage | None


@dataclass(frozen=True, slots=True)
class _ShotStart:
    """Start of a shot: first frames of transition and shot, kind, confidence."""

    start_frame: int
    frame: int
    kind: str
    confidence: float | None

    @classmethod
    def of(cls, boundary: Boundary, offset: int) -> Self:
        """From a detector's boundary, with frames counted from the start of the video."""
        return cls(boundary.start_frame + offset, boundary.frame + offset, str(boundary.kind), boundary.confidence)


class VideoAnalyzer:
    """Finds shots and candidate clips in a stream of frames.

    Memory is bounded: frames are buffered only for the undecided end of the open shot (about twice the longest clip),
    plus 40 bytes per frame. Statistics are processed in batches: Python code between two frames runs with cold CPU
    caches and costs several times more.
    """

    def __init__(self, info: VideoInfo, settings: AnalysisSettings, write_image: ImageWriter) -> None:
        self._info = info
        self._settings = settings
        self._write_image = write_image
        self._time_base = info.time_base
        luminance = LuminanceFormula.of(info)
        self._rgb_from_yuv = luminance.rgb_matrix()
        self.series = FrameSeries(info.time_base, luminance)
        self.shots: list[Shot] = []
        self.clips: list[ClipCandidate] = []
        self._samples = SampleImageBuffer(info, settings.samples, sample_step(settings, info.time_base))
        self._meter = FrameMeter()
        self._size: tuple[int, int] | None = None
        self._pending: list[tuple[int, int, FrameStat]] = []
        self._start_segment(0)
        self._open_shot(_ShotStart(0, 0, "start", None))

    def push(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order."""
        stat, format_changed = self._meter.push(decoded.frame)
        if format_changed or self._size is None:
            self._start_format(upright_size(decoded.frame, self._info))
        elif decoded.follows_gap:
            self._break_shot("gap")
        self.series.note_damage(decoded)
        self._samples.offer(decoded)
        self._append(decoded.pts, decoded.duration, stat)

    def replay(self, measured: MeasuredFrame) -> None:
        """Takes the measured values of the next frame in display order."""
        if measured.format_changed or self._size is None:
            self._start_format(measured.size)
        elif measured.follows_gap:
            self._break_shot("gap")
        if measured.image is not None:
            self._samples.hold(len(self.series) + len(self._pending), measured.pts, measured.image)
        self._append(measured.pts, measured.duration, measured.stat)

    def finish(self) -> None:
        """Closes the last shot. Call after the last frame."""
        self._flush()
        for boundary in self._detector.finish():
            self._close_shot(_ShotStart.of(boundary, self._segment_start))
        self._close_shot(None)

    def _append(self, pts: int, duration: int, stat: FrameStat) -> None:
        self._pending.append((pts, duration, stat))
        if len(self._pending) == BATCH_FRAMES:
            self._flush()

    def _flush(self) -> None:
        """Processes the statistics of the frames since the last call."""
        for pts, duration, stat in self._pending:
            self.series.append(pts, duration, stat)
            for boundary in self._detector.push(stat.thumbnail, self.series.last_time_s):
                self._close_shot(_ShotStart.of(boundary, self._segment_start))
        self._pending.clear()
        self._split_open_shot()

    def _start_segment(self, frame: int) -> None:
        self._segment_start = frame
        shots = self._settings.shots
        if shots.mode == "transnetv2":
            self._detector: ShotBoundaryDetector = TransNetDetector(shots.transnetv2, self._rgb_from_yuv)
        else:
            self._detector = ShotDetector(shots)

    def _start_format(self, size: tuple[int, int]) -> None:
        """Starts a new shot at a new frame size or format."""
        is_first, self._size = self._size is None, self._size or size
        if not is_first:
            self._break_shot("format_change")
            self._size = size

    def _break_shot(self, kind: str) -> None:
        """Ends the open shot before the next frame, whatever the images look like."""
        self._flush()
        frame = len(self.series)
        for boundary in self._detector.finish():
            self._close_shot(_ShotStart.of(boundary, self._segment_start))
        self._close_shot(_ShotStart(frame, frame, kind, None))
        self._start_segment(frame)

    def _open_shot(self, boundary: _ShotStart) -> None:
        self._boundary = boundary
        self._undecided_from: Fraction | None = None

    def _usable_start(self) -> Fraction:
        if self._undecided_from is None:
            trim = exact(self._settings.clips.trim_start_s)
            self._undecided_from = self.series.time(self._boundary.frame) + trim
        return self._undecided_from

    def _split_open_shot(self) -> None:
        final = self._segment_start + self._detector.num_final_frames
        if final <= self._boundary.frame:
            return
        end = self.series.time(min(final, len(self.series) - 1)) - exact(self._settings.clips.trim_end_s)
        pieces, self._undecided_from = split_shot(self._usable_start(), end, self._settings.clips, shot_is_closed=False)
        self._add_clips(pieces)

    def _close_shot(self, boundary: _ShotStart | None) -> None:
        """Ends the open shot at `boundary` and opens the next one."""
        end_frame = boundary.frame if boundary else len(self.series)
        usable_end = boundary.start_frame if boundary else len(self.series)
        if usable_end > self._boundary.frame:
            end = self.series.time(usable_end) - exact(self._settings.clips.trim_end_s)
            pieces, _ = split_shot(self._usable_start(), end, self._settings.clips, shot_is_closed=True)
            self._add_clips(pieces)
        start = self._boundary
        self.shots.append(self.series.shot(start.frame, end_frame, start.kind, start.start_frame, start.confidence))
        if boundary:
            self._open_shot(boundary)
            self._samples.drop_before(boundary.frame)

    def _add_clips(self, pieces: list[tuple[Fraction, Fraction]]) -> None:
        longest, shortest = exact(self._settings.clips.max_s), exact(self._settings.clips.min_s)
        for start, end in pieces:
            span = self.series.span(start, end, longest)
            # An interval can begin late, inside a held frame; the edges of frames alone may shorten it by a step.
            if span is not None and span.duration_s + 1 / span.fps >= shortest:
                self.clips.append(self._clip(span))
                self._samples.drop_before(span.end_frame)

    def _clip(self, span: FrameSpan) -> ClipCandidate:
        samples = self._samples.select(span)
        width, height = self._size or (0, 0)
        images = tuple(
            SampleImage(
                frame=s.frame,
                time_s=float(s.pts * self._time_base),
                image=self._write_image(f"frame-{s.frame:09d}.jpg", s.image.jpeg),
            )
            for s in samples
        )
        return ClipCandidate(
            span=span,
            width=width,
            height=height,
            shot_index=len(self.shots),
            samples=images,
            scores=self.series.scores(span, [s.image.luminance for s in samples]),
        )
