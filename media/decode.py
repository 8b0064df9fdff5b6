"""Streaming decoder of one video stream: exact PTS, error concealment counted, frame-accurate seeking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, dropwhile
from types import TracebackType
from typing import NamedTuple

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.failures import ItemError
from core.time import FrameSpan
from media.avi import AVI, AviTimes
from media.color import tag_color
from media.planes import Planes, planes
from media.source import GPU_FORMAT, choose_video_stream, open_container, read_failure
from media.timeline import FrameOrder, Steps, Timeline, nominal_duration

__all__ = ["DecodedFrame", "Planes", "VideoReader", "planes"]

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
TIMED_CONTAINERS = frozenset({MP4, "matroska,webm"})
"""Containers, by FFmpeg's names, that store a PTS for each frame, and an index."""

# How far before a span to seek, in seconds, tried in order until decoding from there is exact.
_SEEK_BACK_S = (0, 2, 10)
# Consecutive demuxer errors, without a packet in between, after which the rest counts as unreadable.
_MAX_STALLED_READS = 32
_DISCONTINUOUS = int((Flags.ts_discont | Flags.no_timestamps).value)  # type: ignore[call-overload]


class _TimedFrame(NamedTuple):
    """A frame with its repaired PTS, packets lost before it, and clock changes."""

    pts: int
    frame: VideoFrame
    num_errors: int
    num_lost: int
    is_new_clock: bool


logger = logging.getLogger(__name__)


class _HardwareError(RuntimeError):
    """The hardware decoder failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFrame:
    """One frame of a video.

    Attributes:
      index: display index, 0-based.
      pts: presentation timestamp in units of the reader's `time_base`; strictly increasing.
      duration: ticks until the next frame, or until the end of the span or stream; before a gap, a usual step. At
        least 1.
      frame: the decoded frame, neither rotated nor converted; its `pts` is the one above. Color tags that it lacks are
        filled in by `media.color.tag_color`.
      follows_gap: whether frames are missing before it (see `media.timeline`), or a new clock begins with it. A frame
        that the container states to last until the next one is held: that is no gap.
      num_errors: packets between the previous frame and this one that could not be decoded.
    """

    index: int
    pts: int
    duration: int
    frame: VideoFrame
    follows_gap: bool = False
    num_errors: int = 0

    @property
    def is_damaged(self) -> bool:
        """Whether the frame has concealed errors."""
        return self.frame.is_corrupt


class VideoReader:
    """Decodes the video stream of a file, frame by frame, in bounded memory.

    Only one iteration is active: starting another one ends it.

    Args:
      uri: local path or any fsspec URI.
      hardware: whether `frames` decodes 8-bit 4:2:0 with NVDEC; frames are bit-exact and copied to the host. Falls back
        to software where the GPU does not support the file, or fails midway.
      threads: decoder threads. One is best where many videos are decoded in parallel. Containers without PTS are
        always decoded on one thread: FFmpeg would number their frames in the order in which its threads finish.
      use_index: whether `frames_in` may seek. Pass False for a video whose `frames` counted `timestamp_repairs`: its
        timestamps can be ambiguous. None: seeks, except in formats with discontinuous timestamps (MPEG-TS).

    Attributes:
      time_base: seconds per timestamp unit.
      decode_errors: packets of this iteration that could not be demuxed or decoded, or whose frame came too late for
        its place in the video, and were skipped.
      damaged_frames: frames of this iteration with concealed errors.
      timestamp_repairs: frames of this iteration whose PTS was inferred or corrected.
      first_error: FFmpeg's message for the first failing packet.

    Raises:
      ItemError: what `open_container` and `choose_video_stream` raise.
    """

    def __init__(self, uri: str, *, threads: int = 1, use_index: bool | None = None, hardware: bool = False) -> None:
        self.uri = uri
        self._hardware = hardware
        self._threads = threads
        self._use_index = use_index
        self._files = ExitStack()
        self._iteration = 0
        self._open()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; an active iteration then raises an error."""
        self._iteration += 1
        self._files.close()

    @property
    def timestamp_repairs(self) -> int:
        return self._timeline.repairs

    @property
    def num_expected(self) -> int | None:
        """Number of frames according to the container's index; None if unknown.

        Without those that its edit list discards.
        """
        total = self._stream.frames if self._container.format.name in (MP4, AVI) else 0
        return total - self._num_discarded if total > self._num_discarded else None

    @property
    def decode_errors(self) -> int:
        return self._num_failed + self._order.misplaced

    def frames(self) -> Iterator[DecodedFrame]:
        """Yields all frames from the start of the stream, in display order.

        Raises:
          ItemError: NoFrames if no frame could be decoded; ReadFailed for an I/O error.
        """
        count = 0
        try:
            for decoded in self._from_start():
                count += 1
                yield decoded
        except _HardwareError as error:
            logger.warning("%s is decoded in software: the GPU decoder failed: %s", self.uri, error)
            self._hardware = False
            self._open()
            for decoded in self._from_start():
                if decoded.index >= count:
                    count += 1
                    yield decoded
        if not count:
            raise no_frames_failure(self.uri, self._stream, max(0, self._packets - 1), self.first_error)

    def _from_start(self) -> Iterator[DecodedFrame]:
        self._restart()
        return self._with_duration(self._with_pts(), 0, None)

    def frames_in(self, span: FrameSpan) -> Iterator[DecodedFrame]:
        """Yields the frames with `start_pts <= pts < end_pts`, numbered from `span.start_frame`.

        Decoding starts at a keyframe before the span if that gives the same frames as `frames`: one of them has exactly
        the first PTS of the span, and none before it was damaged or repaired. Otherwise it starts further back, at last
        from the beginning of the file. Error concealment inside the span can depend on where decoding started.

        Raises:
          ValueError: if the time base of the span is not that of the stream.
          ItemError: ReadFailed for an I/O error.
        """
        if span.time_base != self.time_base:
            raise ValueError(f"{span!r} cannot be found in {self.uri!r}, whose time base is {self.time_base}")
        yield from self._with_duration(self._with_pts_from(span.start_pts), span.start_frame, span.end_pts)

    def frames_from_keyframe(self, target_pts: int) -> Iterator[DecodedFrame]:
        """Yields the frames from the keyframe at or before `target_pts`, numbered from 0.

        The keyframe is found by the index of the container. Frames of an open GOP can differ from those of `frames`.

        Raises:
          ItemError: NoIndex if the container cannot seek; ReadFailed for an I/O error.
        """
        self._reset()
        self._at_start = False
        try:
            self._container.seek(target_pts, stream=self._stream)
        except av.FFmpegError as error:
            cause = f"{self.uri!r} cannot seek to {float(target_pts * self.time_base):.3f} s ({error.strerror})"
            raise ItemError("NoIndex", cause, "remux it.") from error
        yield from self._with_duration(dropwhile(lambda timed: not timed.frame.key_frame, self._with_pts()), 0, None)

    def _open(self) -> None:
        self._files.close()
        with ExitStack() as files:
            self._container = files.enter_context(open_container(self.uri, self._hardware))
            self._stream: VideoStream = choose_video_stream(self._container, self.uri)
            if self._hardware and self._stream.codec_context.pix_fmt != GPU_FORMAT:
                self._hardware = False
                self._container = files.enter_context(open_container(self.uri))
                self._stream = choose_video_stream(self._container, self.uri)
            if not self._stream.time_base:
                raise ItemError("BrokenHeader", f"{self.uri!r} has no time base", "convert it.")
            self._files = files.pop_all()
        self.time_base: Fraction = self._stream.time_base
        self._on_gpu = self._stream.codec_context.is_hwaccel
        states_times = self._container.format.name in TIMED_CONTAINERS
        self._stream.codec_context.thread_count = self._threads if states_times else 1
        if self._threads > 1 and states_times:
            self._stream.codec_context.thread_type = "AUTO"
        self._avi_times = AviTimes(self._container, self._stream, self.uri)
        self._at_start = True
        self._reset()

    def _reset(self) -> None:
        self._iteration += 1
        self._timeline = Timeline(nominal_duration(self._stream), self.time_base)
        self._avi_times.reset()
        name = self._container.format.name
        self._order = FrameOrder(self._timeline, self.time_base, states_times=name in (MP4, AVI))
        # MP4 states how long each frame lasts: a gap is where there are packets without frames.
        self._states_durations = name == MP4
        self._unseen: list[int] = []
        self._failed: list[int] = []
        self._packets = 0
        self._num_failed = self._num_discarded = 0
        self._starts_at_key = False
        self.damaged_frames = 0
        self.first_error: str | None = None

    def _restart(self) -> None:
        """Returns to the first packet by reopening the file: works for every format."""
        if not self._at_start:
            self._open()
        self._reset()
        self._at_start = False

    def _with_pts_from(self, start_pts: int) -> Iterator[_TimedFrame]:
        """Yields (PTS, frame), from the first frame at or after `start_pts`."""
        first_pts = self._stream.start_time
        may_seek = self._use_index
        if may_seek is None:
            may_seek = not self._container.format.flags & _DISCONTINUOUS
        for back_s in _SEEK_BACK_S if may_seek else ():
            target = start_pts - round(back_s / self.time_base)
            if first_pts is not None and target <= first_pts:
                break
            found = self._seek(target, start_pts)
            if found is not None:
                return found
        self._restart()
        return dropwhile(lambda timed: timed.pts < start_pts, self._with_pts())

    def _seek(self, target: int, start_pts: int) -> Iterator[_TimedFrame] | None:
        """`_with_pts_from` after a seek to `target`; None unless it is exact."""
        self._reset()
        self._at_start = False
        try:
            self._container.seek(target, stream=self._stream)
        except av.FFmpegError:
            return None
        timed = self._with_pts()
        has_keyframe = False
        for found in timed:
            has_keyframe = has_keyframe or self._starts_at_key or found.frame.key_frame
            if self._timeline.repairs or self.decode_errors or self.damaged_frames:
                return None
            if found.pts >= start_pts:
                return chain((found,), timed) if has_keyframe and found.pts == start_pts else None
        return None

    def _with_duration(self, timed: Iterator[_TimedFrame], index: int, end_pts: int | None) -> Iterator[DecodedFrame]:
        """Adds index and duration to frames, each held until the next PTS is known."""
        held: _TimedFrame | None = None
        steps, follows_gap = Steps(self.time_base), False
        for new in timed:
            is_long = steps.push(new.pts)
            if held is not None:
                duration = (new.pts if end_pts is None or new.pts < end_pts else end_pts) - held.pts
                is_gap = is_long and self._is_gap(held, new)
                if is_gap:
                    duration = min(duration, steps.typical() or duration)
                yield DecodedFrame(
                    index=index,
                    pts=held.pts,
                    duration=duration,
                    frame=held.frame,
                    follows_gap=follows_gap,
                    num_errors=held.num_errors,
                )
                follows_gap = is_gap or new.is_new_clock
                index += 1
            if end_pts is not None and new.pts >= end_pts:
                return
            held = new
        if held is not None:
            duration = end_pts - held.pts if end_pts is not None else self._last_duration(held.frame, steps)
            yield DecodedFrame(
                index=index,
                pts=held.pts,
                duration=duration,
                frame=held.frame,
                follows_gap=follows_gap,
                num_errors=held.num_errors,
            )

    def _is_gap(self, frame: _TimedFrame, following: _TimedFrame) -> bool:
        """Whether frames are missing before the following frame, or the frame is held."""
        if self._states_durations:
            return following.num_lost > 0
        return (frame.frame.duration or 0) < following.pts - frame.pts

    def _last_duration(self, frame: VideoFrame, steps: Steps) -> int:
        """Duration of the last frame: the stored one, unless regular steps contradict it."""
        stored, usual = frame.duration or 0, steps.usual()
        if usual is not None and (2 * stored < usual or (stored > 2 * usual and not self._states_durations)):
            return usual
        return stored or steps.typical() or self._timeline.step

    def _with_pts(self) -> Iterator[_TimedFrame]:
        for frame in self._decode():
            for ordered in self._order.push(frame):
                yield self._timed(*ordered)
        for ordered in self._order.flush():
            yield self._timed(*ordered)

    def _timed(self, pts: int, frame: VideoFrame, is_new_clock: bool) -> _TimedFrame:
        num_errors = num_lost = 0
        if self._failed:
            reached = frame.dts if frame.pts is None else frame.pts
            errors = len(self._failed)
            self._failed = [] if reached is None or is_new_clock else [t for t in self._failed if t > reached]
            num_errors = errors - len(self._failed)
        if self._states_durations and frame.pts is not None:
            while self._unseen and self._unseen[0] <= frame.pts:
                num_lost += heappop(self._unseen) != frame.pts
        if self._on_gpu:
            # NVDEC gives NV12: interleaved chroma, the same samples.
            frame = frame.reformat(format=GPU_FORMAT)
        if pts != frame.pts:
            frame.pts = pts
        tag_color(frame)
        return _TimedFrame(pts, frame, num_errors, num_lost, is_new_clock)

    def _decode(self) -> Iterator[VideoFrame]:
        iteration = self._iteration
        decode = self._stream.codec_context.decode
        for packet in self._demux():
            try:
                frames = decode(packet)
            except av.FFmpegError as error:
                if self._on_gpu:
                    raise _HardwareError(error.strerror or str(error)) from error
                self._count_error(error)
                self._avi_times.note_failure(packet)
                if (time := packet.dts if packet.pts is None else packet.pts) is not None:
                    self._failed.append(time)
                continue
            for frame in frames:
                self._avi_times.stamp_frame(frame)
                if frame.is_corrupt:
                    self.damaged_frames += 1
                yield frame
                if iteration != self._iteration:
                    raise RuntimeError(f"the reader of {self.uri!r} was closed or restarted during the iteration")

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        for packet in read_packets(self._container, self._stream, self.uri, self._count_error):
            if not self._packets:
                self._starts_at_key = packet.is_keyframe
            self._packets += 1
            self._avi_times.stamp_packet(packet)
            self._order.see_packet(packet.dts)
            if packet.is_discard:
                self._num_discarded += 1
            elif self._states_durations and packet.pts is not None:
                heappush(self._unseen, packet.pts)
            yield packet

    def _count_error(self, error: av.FFmpegError) -> None:
        self._num_failed += 1
        if self.first_error is None:
            self.first_error = f"packet {self._packets}: {error.strerror or error}"


def read_packets(
    container: InputContainer, stream: VideoStream, uri: str, on_error: Callable[[av.FFmpegError], None]
) -> Iterator[Packet[VideoStream]]:
    """Demuxes packets from the current position, past errors; the last, empty one flushes the decoder.

    Args:
      container, stream: what to read.
      uri: name for messages.
      on_error: called with each demuxer error.

    Raises:
      ItemError: ReadFailed for an I/O error.
    """
    stalled = 0
    packets = container.demux(stream)
    while stalled < _MAX_STALLED_READS:
        try:
            for packet in packets:
                stalled = 0
                yield packet
            return
        except av.FFmpegError as error:
            stalled += 1
            on_error(error)
            packets = container.demux(stream)
        except Exception as error:  # each remote file system has its own exceptions
            raise read_failure(uri, error) from error


def no_frames_failure(uri: str, stream: VideoStream, num_packets: int, first_error: str | None) -> ItemError:
    """The failure of a video without a decodable frame."""
    codec = stream.codec_context.codec.canonical_name
    if not num_packets:
        cause = f"{uri!r} declares a {codec} video, but holds no packet of it"
    else:
        said = f"; the first error: {first_error}" if first_error else ""
        cause = f"none of the {num_packets} packets of {uri!r} ({codec}) could be decoded{said}"
    return ItemError("NoFrames", cause, "fetch it again: the file is empty or damaged beyond use.")
