"""Probes a video: reads its header and a few hundred packets, and decodes one frame."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.failures import ItemError
from core.video_info import VideoInfo
from media.avi import AVI, AviTimes
from media.color import MATRICES, PRIMARIES, RANGES, TRANSFERS
from media.decode import MP4, no_frames_failure, read_packets
from media.diagnose import is_encrypted
from media.planes import bit_depth
from media.source import choose_video_stream, open_container, open_for_reading
from media.timeline import Timeline

_PROBED_PACKETS = 300
_ENCRYPTION_BYTES = 1 << 20
# The last_pts packets read, whose order in presentation time is not final yet (B-frames).
_REORDERED_PACKETS = 32
_SAME_RATE = 0.02
MATROSKA = "matroska,webm"
STATING_CONTAINERS = frozenset({MP4, MATROSKA, AVI, "flv", "asf"})
"""Containers, by FFmpeg's names, whose header states a duration; FFmpeg estimates that of others."""
MIN_BYTES_PER_S = 1
"""A header that states fewer bytes a second is absurd: a still image of 64x64 in an hour of H.264 takes more."""
_GRID_SLACK = 0.25
_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
_FIELD_ORDERS = {1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _StreamStart:
    """The first frame of a stream, its PTS, and the timestamps of the first packets.

    Attributes:
      is_whole: whether the stream ends within these packets.
    """

    frame: VideoFrame
    start_pts: int
    timestamps: list[int]
    is_whole: bool


def probe_video(uri: str) -> VideoInfo:
    """Metadata of a video, from its header, first packets and first frame.

    Args:
      uri: local path or any fsspec URI.

    Raises:
      ItemError: what `media.source` raises; Encrypted; NoFrames if nothing can be decoded.
    """
    with open_container(uri) as container:
        stream = choose_video_stream(container, uri)
        start = _read_start(container, stream, uri)
        return _describe(container, stream, start)


def _read_start(container: InputContainer, stream: VideoStream, uri: str) -> _StreamStart:
    """Decodes the first frame, then demuxes packets without decoding them."""
    errors: list[str] = []
    frame: VideoFrame | None = None
    pts: list[int | None] = []
    dts: list[int | None] = []
    is_whole = False
    stream.codec_context.thread_count = 1
    avi_times = AviTimes(container, stream, uri)
    for packet in read_packets(container, stream, uri, lambda error: errors.append(str(error.strerror))):
        if packet.has_sidedata("encryption_info"):
            raise _encrypted(uri)
        avi_times.stamp_packet(packet)
        if frame is None:
            try:
                frame = next(iter(stream.codec_context.decode(packet)), None)
            except av.FFmpegError as error:
                avi_times.note_failure(packet)
                errors.append(f"packet {len(pts) + 1}: {error.strerror}")
        elif len(pts) >= _PROBED_PACKETS:
            break
        if packet.size and not packet.is_discard:
            pts.append(packet.pts)
            dts.append(packet.dts)
    else:
        is_whole = True
    if frame is None or errors or frame.is_corrupt:
        with open_for_reading(uri) as file:
            if is_encrypted(file.read(_ENCRYPTION_BYTES)):
                raise _encrypted(uri)
    if frame is None:
        raise no_frames_failure(uri, stream, len(pts), errors[0] if errors else None)
    avi_times.stamp_frame(frame)
    return _StreamStart(
        frame=frame,
        start_pts=Timeline(1, Fraction(1)).next_pts(frame.pts, frame.dts),
        timestamps=[t for t in (dts if None in pts else pts) if t is not None],
        is_whole=is_whole,
    )


def _encrypted(uri: str) -> ItemError:
    return ItemError(
        "Encrypted", f"{uri!r} is encrypted (DRM)", "decrypt it with its key, or remove it from the input."
    )


def _describe(container: InputContainer, stream: VideoStream, start: _StreamStart) -> VideoInfo:
    frame = start.frame
    rotation_deg, is_mirrored = read_display_matrix(frame)
    is_transposed = rotation_deg in (90, 270)
    transfer = TRANSFERS.get(frame.color_trc)
    field_order = _FIELD_ORDERS.get(stream.codec_context.field_order)
    duration_s = _duration_s(container, stream)
    audio = container.streams.audio
    size_bytes = container.size
    return VideoInfo(
        container=container.format.name,
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        profile=stream.profile,
        pixel_format=frame.format.name,
        bit_depth=bit_depth(frame.format.name),
        coded_width=frame.width,
        coded_height=frame.height,
        display_width=frame.height if is_transposed else frame.width,
        display_height=frame.width if is_transposed else frame.height,
        rotation_deg=rotation_deg,
        is_mirrored=is_mirrored,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        color_range="full" if frame.format.name.startswith("yuvj") else RANGES.get(frame.color_range),
        color_matrix=MATRICES.get(frame.colorspace),
        color_primaries=PRIMARIES.get(frame.color_primaries),
        color_transfer=transfer,
        is_hdr=transfer in _HDR_TRANSFERS,
        time_base=stream.time_base or Fraction(1),
        start_pts=start.start_pts,
        average_fps=stream.average_rate or None,
        nominal_fps=stream.base_rate or None,
        start_time_s=_start_time_s(container, start.start_pts * (stream.time_base or Fraction(1))),
        duration_s=duration_s,
        stated_duration_s=_stated_duration_s(container, stream, duration_s),
        header_frames=stream.frames or None,
        is_variable_frame_rate=_is_variable(stream, start),
        field_order=field_order,
        is_interlaced=frame.interlaced_frame or field_order not in (None, "progressive"),
        has_audio=bool(audio),
        audio_codec=audio[0].codec_context.codec.canonical_name if audio and audio[0].codec_context else None,
        size_bytes=size_bytes,
        bit_rate=round(8 * size_bytes / duration_s) if duration_s else container.bit_rate or None,
    )


def read_display_matrix(frame: VideoFrame) -> tuple[int, bool]:
    """Clockwise rotation in degrees and mirroring, from the display matrix of a frame.

    The rotation (0, 90, 180 or 270) is applied first, then the horizontal flip. The first two rows of the matrix are
    the directions on screen of the frame's x and y axes (ISO/IEC 14496-12 section 8.3.2). Other angles are rounded.
    """
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on side data of a type it does not know
        return -round(frame.rotation / 90) % 4 * 90, False
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    is_mirrored = a * d - b * c < 0
    angle_deg = math.degrees(math.atan2(b, -a if is_mirrored else a))
    return round(angle_deg / 90) % 4 * 90, is_mirrored


def _start_time_s(container: InputContainer, first_s: Fraction) -> Fraction:
    return first_s if container.start_time is None else Fraction(container.start_time, av.time_base)


def _duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    duration_s = None
    if stream.duration and stream.time_base:
        duration_s = stream.duration * stream.time_base
    elif container.duration:
        # The duration in a Matroska header is the end time, counted from zero.
        skipped = container.start_time or 0 if container.format.name == MATROSKA else 0
        duration_s = Fraction(container.duration - max(0, skipped), av.time_base)
    if duration_s is None or duration_s <= 0 or duration_s * MIN_BYTES_PER_S > container.size:
        return None
    return duration_s


def _stated_duration_s(container: InputContainer, stream: VideoStream, duration_s: Fraction | None) -> Fraction | None:
    """Duration of the video stream from the header; None if estimated or possibly sound's."""
    name = container.format.name
    if duration_s is None or name not in STATING_CONTAINERS:
        return None
    if name == MATROSKA:
        tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
        if tag is not None:
            end_s = 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3])
            stated_s = end_s - Fraction(max(0, stream.start_time or 0)) * (stream.time_base or 1)
            return stated_s if 0 < stated_s * MIN_BYTES_PER_S <= container.size else None
    return duration_s if stream.duration or len(container.streams) == 1 else None


def _is_variable(stream: VideoStream, start: _StreamStart) -> bool:
    """Whether the frame rate varies: irregular first timestamps, or a different mean rate."""
    timestamps = np.sort(np.array(start.timestamps, np.float64))
    if not start.is_whole:
        timestamps = timestamps[:-_REORDERED_PACKETS]
    if len(timestamps) < 3:
        return False
    step = (timestamps[-1] - timestamps[0]) / (len(timestamps) - 1)
    grid = timestamps[0] + step * np.arange(len(timestamps))
    # Timestamps are rounded to ticks: off the grid by one tick at most.
    if np.abs(timestamps - grid).max() > min(1.0, _GRID_SLACK * step) + 1e-6:
        return True
    if start.is_whole or not stream.average_rate or not stream.time_base:
        return False
    return bool(abs(float(stream.average_rate * stream.time_base) * step - 1) > _SAME_RATE)
