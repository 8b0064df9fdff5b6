"""Facts of a video at the price of its header, a few hundred packets and one decoded frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.video_info import VideoInfo
from media.decode import no_frames, read_packets
from media.planes import bit_depth
from media.source import choose_video_stream, open_container
from media.timeline import Timeline

_PROBED_PACKETS = 300
# Packets whose presentation time may still be preceded by that of a later packet.
_REORDERED_PACKETS = 32
_SAME_RATE = 0.02
_GRID_SLACK = 0.25
# Code points of ISO/IEC 23091-2, by FFmpeg's names.
_RANGES = {1: "limited", 2: "full"}
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
    10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
    16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
_HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
_FIELD_ORDERS = {1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What the first packets of a stream show: the first frame, its time, and all their timestamps."""

    frame: VideoFrame
    start_pts: int
    stamps: list[int]
    is_whole: bool


def probe_video(uri: str) -> VideoInfo:
    """Facts of a video, from its header, its first packets and its first frame.

    Args:
      uri: local path or any fsspec URI.

    Raises:
      ItemError: what `media.source` raises; NoFrames if nothing can be decoded.
    """
    with open_container(uri) as container:
        stream = choose_video_stream(container, uri)
        start = _read_start(container, stream, uri)
        return _describe(container, stream, start)


def _read_start(container: InputContainer, stream: VideoStream, uri: str) -> _Start:
    """Decodes up to the first frame, then only reads packets."""
    errors: list[str] = []
    frame: VideoFrame | None = None
    pts: list[int | None] = []
    dts: list[int | None] = []
    is_whole = False
    stream.codec_context.thread_count = 1
    for packet in read_packets(container, stream, uri, lambda error: errors.append(str(error.strerror))):
        if frame is None:
            try:
                frame = next(iter(stream.codec_context.decode(packet)), None)
            except av.FFmpegError as error:
                errors.append(f"packet {len(pts) + 1}: {error.strerror}")
        elif len(pts) >= _PROBED_PACKETS:
            break
        if packet.size and not packet.is_discard:
            pts.append(packet.pts)
            dts.append(packet.dts)
    else:
        is_whole = True
    if frame is None:
        raise no_frames(uri, stream, len(pts), errors[0] if errors else None)
    return _Start(
        frame=frame,
        start_pts=Timeline(1, Fraction(1)).place(frame.pts, frame.dts),
        stamps=[t for t in (dts if None in pts else pts) if t is not None],
        is_whole=is_whole,
    )


def _describe(container: InputContainer, stream: VideoStream, start: _Start) -> VideoInfo:
    frame = start.frame
    rotation_deg, is_mirrored = display_rotation(frame)
    turned = rotation_deg in (90, 270)
    transfer = _TRANSFERS.get(frame.color_trc)
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
        display_width=frame.height if turned else frame.width,
        display_height=frame.width if turned else frame.height,
        rotation_deg=rotation_deg,
        is_mirrored=is_mirrored,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        color_range="full" if frame.format.name.startswith("yuvj") else _RANGES.get(frame.color_range),
        color_matrix=_MATRICES.get(frame.colorspace),
        color_primaries=_PRIMARIES.get(frame.color_primaries),
        color_transfer=transfer,
        is_hdr=transfer in _HDR_TRANSFERS,
        time_base=stream.time_base or Fraction(1),
        start_pts=start.start_pts,
        average_fps=stream.average_rate or None,
        nominal_fps=stream.base_rate or None,
        duration_s=duration_s,
        header_frames=stream.frames or None,
        is_variable_frame_rate=_is_variable(stream, start),
        field_order=field_order,
        is_interlaced=frame.interlaced_frame or field_order not in (None, "progressive"),
        has_audio=bool(audio),
        audio_codec=audio[0].codec_context.codec.canonical_name if audio and audio[0].codec_context else None,
        size_bytes=size_bytes,
        bit_rate=round(8 * size_bytes / duration_s) if duration_s else container.bit_rate or None,
    )


def display_rotation(frame: VideoFrame) -> tuple[int, bool]:
    """Clockwise degrees (0, 90, 180, 270) that make a frame upright, and whether to mirror it after.

    Read from the frame's display matrix, whose first two rows tell where a step right and a step down in
    the frame go on the screen (ISO/IEC 14496-12 section 8.3.2). Other angles are taken to the nearest.
    """
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV has no name for hides the rest
        return -round(frame.rotation / 90) % 4 * 90, False
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    is_mirrored = a * d - b * c < 0
    angle_deg = math.degrees(math.atan2(b, -a if is_mirrored else a))
    return round(angle_deg / 90) % 4 * 90, is_mirrored


def _duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if not container.duration:
        return None
    # Matroska states when the video ends, counted from zero, whenever it starts.
    skipped = container.start_time or 0 if container.format.name == "matroska,webm" else 0
    return Fraction(container.duration - max(0, skipped), av.time_base)


def _is_variable(stream: VideoStream, start: _Start) -> bool:
    """Whether the first timestamps leave a regular grid, or all frames have another mean rate than they."""
    stamps = np.sort(np.array(start.stamps, np.float64))
    if not start.is_whole:
        stamps = stamps[:-_REORDERED_PACKETS]
    if len(stamps) < 3:
        return False
    step = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    grid = stamps[0] + step * np.arange(len(stamps))
    # Timestamps are rounded to ticks, which may take them one tick off the grid.
    if np.abs(stamps - grid).max() > min(1.0, _GRID_SLACK * step) + 1e-6:
        return True
    if start.is_whole or not stream.average_rate or not stream.time_base:
        return False
    return bool(abs(float(stream.average_rate * stream.time_base) * step - 1) > _SAME_RATE)
