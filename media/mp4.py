"""Encodes frames into an MP4 file with exact PTS and reproducible bytes.

There is no creation time or encoder version in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.codec.context import Flags
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame

from core.failures import ItemError

ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_TAGS = {"h264": "avc1", "hevc": "hvc1"}
# No log, one thread, no version SEI, closed GOPs.
_X265_PARAMS = "log-level=none:pools=none:frame-threads=1:info=0:open-gop=0"
_MIN_TIMESCALE = 10000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Spec:
    """Encoder settings of an MP4 file.

    Attributes:
      codec: "h264" or "hevc".
      preset, crf: speed and constant rate factor of the encoder.
      keyframe_interval: maximum GOP length in frames.
      width, height: size of the frames, in pixels.
      pixel_format: FFmpeg's name.
      sample_aspect_ratio: width : height of a pixel.
      time_base: seconds per unit of the frames' PTS.
      fps: mean frame rate, for the rate control.
      duration: from 0 to the end of the last frame, in `time_base` units.
    """

    codec: str
    preset: str
    crf: int
    keyframe_interval: int
    width: int
    height: int
    pixel_format: str
    sample_aspect_ratio: Fraction
    time_base: Fraction
    fps: Fraction
    duration: int


def write_mp4(
    path: str,
    frames: Iterable[tuple[int, VideoFrame]],
    spec: Mp4Spec,
    add_audio: Callable[[Any], list[Packet[Any]]] = lambda output: [],
) -> list[int]:
    """Encodes frames into an MP4 file with its index (moov) in front.

    The time scale of the file divides `spec.time_base`, so that every PTS is exact. All packets are held in memory.

    Args:
      path: local file, taken literally.
      frames: strictly increasing PTS in `spec.time_base` units, the first 0, and frames of the size and format of
        `spec`. Their color range, primaries, transfer and matrix are written into the file.
      spec: encoder settings.
      add_audio: adds a stream to the open file and returns its packets.

    Returns:
      The PTS.

    Raises:
      ItemError: EncodeFailed.
    """
    timescale = str(_timescale(spec.time_base))
    options = {
        "movflags": "+faststart",
        "fflags": "+bitexact",
        "movie_timescale": timescale,
        "video_track_timescale": timescale,
    }
    times: list[int] = []
    packets: list[Packet[Any]] = []
    try:
        with av.open("file:" + os.path.abspath(path), "w", format="mp4", options=options) as output:
            stream: Any = None
            for pts, frame in frames:
                if stream is None:
                    stream = output.add_stream(ENCODERS[spec.codec], options=_encoder_options(spec))
                    _configure(stream.codec_context, frame, spec)
                frame.pts, frame.time_base = pts, spec.time_base
                frame.pict_type = PictureType.NONE  # else the encoder copies the source's keyframes
                times.append(pts)
                packets += stream.encode(frame)
            packets += stream.encode(None)
            if len(packets) != len(times):
                raise _encode_failure(spec, f"{len(packets)} packets came out of {len(times)} frames")
            if spec.codec == "h264":
                packets[0] = _strip_sei(packets[0], stream)
            _set_decode_times(packets, times, spec.duration)
            packets += add_audio(output)
            output.mux(sorted(packets, key=lambda packet: (packet.dts or 0) * (packet.time_base or Fraction(1))))
    except av.FFmpegError as error:
        raise _encode_failure(spec, error) from error
    return times


def _encode_failure(spec: Mp4Spec, reason: object) -> ItemError:
    return ItemError(
        "EncodeFailed",
        f"{spec.width}x{spec.height} {spec.pixel_format} cannot be encoded as {spec.codec}: {reason}",
        "choose another codec or size, or check the free disk space.",
    )


def _timescale(time_base: Fraction) -> int:
    """Time scale of the file: a multiple of the source's."""
    timescale = time_base.denominator
    while timescale < _MIN_TIMESCALE:
        timescale *= 2
    return timescale


def _encoder_options(spec: Mp4Spec) -> dict[str, str]:
    options = {"preset": spec.preset, "crf": str(spec.crf)}
    if spec.codec == "hevc":
        return options | {"x265-params": _X265_PARAMS}
    # Else x264's macroblock tree uses reciprocal approximations that differ between processors.
    return options | {"a53cc": "0", "x264-params": "cpu-independent=1"}


def _configure(context: Any, frame: VideoFrame, spec: Mp4Spec) -> None:
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
    context.time_base = spec.time_base
    context.framerate = spec.fps.limit_denominator(1_000_000)
    context.gop_size = spec.keyframe_interval
    # One thread and no CPU-dependent shortcuts: the same bytes on every machine with this FFmpeg.
    context.thread_count = 1
    context.flags |= int(Flags.bitexact)
    context.codec_tag = _TAGS[spec.codec]
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    context.color_range = frame.color_range
    context.color_primaries = frame.color_primaries
    context.color_trc = frame.color_trc
    context.colorspace = frame.colorspace


def _strip_sei(packet: Packet[Any], stream: Any) -> Packet[Any]:
    """The first H.264 packet without the SEI message that names x264's version and options."""
    stripped: Packet[Any] = BitStreamFilterContext("filter_units=remove_types=6", "h264").filter(packet)[0]
    stripped.stream, stripped.time_base = stream, stream.codec_context.time_base
    return stripped


def _set_decode_times(packets: list[Packet[Any]], pts: list[int], duration: int) -> None:
    """Sets the DTS of packets in decoding order; steps are the frames' durations.

    At a variable frame rate the encoder's DTS drift from that. MP4 stores steps between DTS, so that the duration and
    mean frame rate in the file would be wrong.
    """
    packet_pts = [packet.pts or 0 for packet in packets]
    delay = max(sorted_pts - own_pts for sorted_pts, own_pts in zip(pts, packet_pts, strict=True))
    durations = {a: b - a for a, b in zip(pts, [*pts[1:], duration], strict=True)}
    for packet, own_pts, sorted_pts in zip(packets, packet_pts, pts, strict=True):
        packet.dts = sorted_pts - delay
        packet.duration = durations[own_pts]
    packets[-1].duration = durations[pts[-1]]
