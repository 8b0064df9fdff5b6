"""Streaming decode of one video stream: exact timestamps, damage survived and counted, exact spans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile
from types import TracebackType

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.failures import ItemError
from core.time import FrameSpan
from media.planes import Planes, planes
from media.source import GPU_FORMAT, choose_video_stream, open_container, read_failed
from media.timeline import Timeline, nominal_step

__all__ = ["DecodedFrame", "Planes", "VideoReader", "planes"]

TIMED_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers, by FFmpeg's names, that state a presentation time for each frame, and where each lies."""

# How far before a span to look for a frame to decode from, when looking right before it fails.
_SEEK_BACK_S = (0, 2, 10)
# A demuxer that fails so often in a row, without a packet between, has reached the end of what is readable.
_MAX_STALLED_READS = 32
_JUMPY_CLOCK = int((Flags.ts_discont | Flags.no_timestamps).value)  # type: ignore[call-overload]

_StampedFrame = tuple[int, VideoFrame]

logger = logging.getLogger(__name__)


class _HardwareError(RuntimeError):
    """The GPU's decoder could not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFrame:
    """One frame of a video.

    Attributes:
      index: display index, 0-based.
      pts: presentation timestamp in units of the reader's `time_base`; strictly increasing.
      duration: ticks until the next frame, or until the end of the span or stream; at least 1.
      frame: the picture as decoded, neither rotated nor converted; its `pts` is the one above.
    """

    index: int
    pts: int
    duration: int
    frame: VideoFrame


class VideoReader:
    """Decodes the video stream of a file, frame by frame, in bounded memory.

    One iteration runs at a time: starting another ends the one before.

    Args:
      uri: local path or any fsspec URI.
      hardware: whether `frames` decodes 8-bit 4:2:0 on a GPU (NVDEC); the pictures are the same, and come to the host.
        Where there is none that takes the file, or it fails midway, the file is decoded in software.
      threads: decoder threads. One is best where many videos are decoded side by side. Containers that
        state no presentation times are decoded on one thread whatever is asked, as FFmpeg numbers
        their frames by the order in which its threads finish otherwise.
      use_index: whether `frames_in` may seek. Off for a video whose `frames` counted
        `timestamp_repairs`, since its own timestamps can be ambiguous; on for any other. If not known
        (None), it seeks but in formats whose clock may jump, such as MPEG transport streams.

    Attributes:
      time_base: seconds per timestamp unit.
      decode_errors: packets that could not be read or decoded in this iteration; they are skipped.
      damaged_frames: frames of this iteration that the decoder gave out with concealed damage.
      timestamp_repairs: frames of this iteration whose timestamp had to be inferred or corrected.
      first_error: what FFmpeg said about the first failing packet.

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
        """Closes the file; iterations that still run end with an error."""
        self._iteration += 1
        self._files.close()

    @property
    def timestamp_repairs(self) -> int:
        return self._timeline.repairs

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames from the start of the stream, in display order.

        Raises:
          ItemError: NoFrames if not one frame could be decoded; ReadFailed if the file cannot be read on.
        """
        count = 0
        try:
            for decoded in self._from_start():
                count += 1
                yield decoded
        except _HardwareError as error:
            logger.warning("%s is decoded in software: the GPU's decoder says %s", self.uri, error)
            self._hardware = False
            self._open()
            for decoded in self._from_start():
                if decoded.index >= count:
                    count += 1
                    yield decoded
        if not count:
            raise no_frames(self.uri, self._stream, max(0, self._packets - 1), self.first_error)

    def _from_start(self) -> Iterator[DecodedFrame]:
        self._rewind()
        return self._measured(self._stamped(), 0, None)

    def frames_in(self, span: FrameSpan) -> Iterator[DecodedFrame]:
        """The frames with `start_pts <= pts < end_pts`, numbered from `span.start_frame`.

        Decoding starts at a key frame before the span where that is proven to give what `frames` gives:
        a frame carries the span's very first timestamp and nothing before it was damaged or repaired.
        Otherwise it starts further back, at last from the beginning of the file. Where a frame inside the
        span is damaged, what the decoder conceals it with can depend on where it started.

        Raises:
          ValueError: if the span was measured in another time base.
          ItemError: ReadFailed if the file cannot be read on.
        """
        if span.time_base != self.time_base:
            raise ValueError(f"{span!r} cannot be found in {self.uri!r}, whose time base is {self.time_base}")
        yield from self._measured(self._stamped_from(span.start_pts), span.start_frame, span.end_pts)

    def frames_from_key(self, target_pts: int) -> Iterator[DecodedFrame]:
        """The frames from a key frame at or before `target_pts` on, numbered from 0, found by the container's index.

        Nothing is proven of them: where pictures lean on others before the key frame, they are not those of `frames`.

        Raises:
          ItemError: NoIndex if the container cannot be sought in; ReadFailed if the file cannot be read on.
        """
        self._reset()
        self._at_start = False
        try:
            self._container.seek(target_pts, stream=self._stream)
        except av.FFmpegError as error:
            cause = f"{self.uri!r} cannot be sought to {float(target_pts * self.time_base):.3f} s ({error.strerror})"
            raise ItemError("NoIndex", cause, "remux it.") from error
        yield from self._measured(dropwhile(lambda stamped: not stamped[1].key_frame, self._stamped()), 0, None)

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
                raise ItemError("BrokenHeader", f"{self.uri!r} states no unit for its times", "convert it.")
            self._files = files.pop_all()
        self.time_base: Fraction = self._stream.time_base
        self._on_gpu = self._stream.codec_context.is_hwaccel
        states_times = self._container.format.name in TIMED_CONTAINERS
        self._stream.codec_context.thread_count = self._threads if states_times else 1
        if self._threads > 1 and states_times:
            self._stream.codec_context.thread_type = "AUTO"
        self._at_start = True
        self._reset()

    def _reset(self) -> None:
        self._iteration += 1
        self._timeline = Timeline(nominal_step(self._stream), self.time_base)
        self._packets = 0
        self._starts_at_key = False
        self.decode_errors = 0
        self.damaged_frames = 0
        self.first_error: str | None = None

    def _rewind(self) -> None:
        """Back to the first packet, by a new opening: the one way that works for every format."""
        if not self._at_start:
            self._open()
        self._reset()
        self._at_start = False

    def _stamped_from(self, start_pts: int) -> Iterator[_StampedFrame]:
        """Frames with their timestamps, from the first at or after `start_pts`."""
        first_pts = self._stream.start_time
        may_seek = self._use_index
        if may_seek is None:
            may_seek = not self._container.format.flags & _JUMPY_CLOCK
        for back_s in _SEEK_BACK_S if may_seek else ():
            target = start_pts - round(back_s / self.time_base)
            if first_pts is not None and target <= first_pts:
                break
            found = self._sought(target, start_pts)
            if found is not None:
                return found
        self._rewind()
        return dropwhile(lambda stamped: stamped[0] < start_pts, self._stamped())

    def _sought(self, target: int, start_pts: int) -> Iterator[_StampedFrame] | None:
        """Like `_stamped_from` after seeking to `target`; None unless proven to be exact."""
        self._reset()
        self._at_start = False
        try:
            self._container.seek(target, stream=self._stream)
        except av.FFmpegError:
            return None
        stamped = self._stamped()
        key_seen = False
        for pts, frame in stamped:
            key_seen = key_seen or self._starts_at_key or frame.key_frame
            if self._timeline.repairs or self.decode_errors or self.damaged_frames:
                return None
            if pts >= start_pts:
                return chain(((pts, frame),), stamped) if key_seen and pts == start_pts else None
        return None

    def _measured(self, stamped: Iterator[_StampedFrame], index: int, end_pts: int | None) -> Iterator[DecodedFrame]:
        """Gives each frame its index and duration, which takes a look at the next frame."""
        held: VideoFrame | None = None
        held_pts, duration = 0, self._timeline.step
        for pts, frame in stamped:
            if held is not None:
                duration = (pts if end_pts is None or pts < end_pts else end_pts) - held_pts
                yield DecodedFrame(index=index, pts=held_pts, duration=duration, frame=held)
                index += 1
            if end_pts is not None and pts >= end_pts:
                return
            held, held_pts = frame, pts
        if held is not None:
            last = end_pts - held_pts if end_pts is not None else held.duration or duration
            yield DecodedFrame(index=index, pts=held_pts, duration=last, frame=held)

    def _stamped(self) -> Iterator[_StampedFrame]:
        place = self._timeline.place
        for frame in self._decoded():
            own_pts = frame.pts
            pts = place(own_pts, frame.dts)
            if self._on_gpu:
                # NVDEC interleaves the colors; the pictures are the same otherwise.
                frame = frame.reformat(format=GPU_FORMAT)
            if pts != frame.pts:
                frame.pts = pts
            yield pts, frame

    def _decoded(self) -> Iterator[VideoFrame]:
        iteration = self._iteration
        decode = self._stream.codec_context.decode
        for packet in self._demuxed():
            try:
                frames = decode(packet)
            except av.FFmpegError as error:
                if self._on_gpu:
                    raise _HardwareError(error.strerror or str(error)) from error
                self._note(error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged_frames += 1
                yield frame
                if iteration != self._iteration:
                    raise RuntimeError(f"the reader of {self.uri!r} was closed or started over meanwhile")

    def _demuxed(self) -> Iterator[Packet[VideoStream]]:
        for packet in read_packets(self._container, self._stream, self.uri, self._note):
            if not self._packets:
                self._starts_at_key = packet.is_keyframe
            self._packets += 1
            yield packet

    def _note(self, error: av.FFmpegError) -> None:
        self.decode_errors += 1
        if self.first_error is None:
            self.first_error = f"packet {self._packets}: {error.strerror or error}"


def read_packets(
    container: InputContainer, stream: VideoStream, uri: str, note: Callable[[av.FFmpegError], None]
) -> Iterator[Packet[VideoStream]]:
    """Packets of a stream from where it stands, past damage; the last is empty, to flush a decoder.

    Args:
      container, stream: what to read.
      uri: name for messages.
      note: called with each error that reading ran into.

    Raises:
      ItemError: ReadFailed if disk or network fails.
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
            note(error)
            packets = container.demux(stream)
        except Exception as error:  # each remote file system has its own exceptions
            raise read_failed(uri, error) from error


def no_frames(uri: str, stream: VideoStream, num_packets: int, first_error: str | None) -> ItemError:
    """The failure of a video that does not give a single frame."""
    codec = stream.codec_context.codec.canonical_name
    if not num_packets:
        cause = f"{uri!r} announces a {codec} video, but holds no packet of it"
    else:
        said = f"; the first error: {first_error}" if first_error else ""
        cause = f"none of the {num_packets} packets of {uri!r} ({codec}) gave a frame{said}"
    return ItemError("NoFrames", cause, "fetch it again: the file is empty or damaged beyond use.")
