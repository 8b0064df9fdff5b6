"""Pictures into an MP4 file: exact times, reproducible bytes, no trace of when and by what it was written."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
# Silent, on one thread, without a message on its version, and with key frames that depend on nothing.
_X265_PARAMS = "log-level=none:pools=none:frame-threads=1:info=0:open-gop=0"
_MIN_TIMESCALE = 10000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Spec:
    """How pictures are to be coded.

    Attributes:
      codec: "h264" or "hevc".
      preset, crf: speed and quality of the encoder.
      keyframe_interval: most frames from one key frame to the next.
      width, height: size of the pictures, in pixels.
      pixel_format: FFmpeg's name.
      sample_aspect_ratio: width : height of a pixel.
      time_base: seconds per unit of the pictures' times.
      fps: mean frame rate, which the rate control goes by.
      duration: ticks from time 0 to the end of the last picture.
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


def write_mp4(path: str, pictures: Iterable[tuple[int, VideoFrame]], spec: Mp4Spec) -> list[int]:
    """Encodes pictures into an MP4 file with its index in front.

    The file counts time in whole fractions of `spec.time_base`, so that every time is exact. Its coded
    packets are held in memory until all are there.

    Args:
      path: local file, taken literally.
      pictures: strictly increasing times in `spec.time_base` units, the first 0, and what to show.
        The pictures are of the size and format of `spec`; their color tags are written into the file.
      spec: how to code them.

    Returns:
      The times.

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
            for pts, picture in pictures:
                if stream is None:
                    stream = output.add_stream(ENCODERS[spec.codec], options=_encoder_options(spec))
                    _set_up(stream.codec_context, picture, spec)
                picture.pts, picture.time_base = pts, spec.time_base
                picture.pict_type = PictureType.NONE  # else the encoder repeats the source's key frames
                times.append(pts)
                packets += stream.encode(picture)
            packets += stream.encode(None)
            if len(packets) != len(times):
                raise _encode_failed(spec, f"{len(packets)} packets came out of {len(times)} pictures")
            if spec.codec == "h264":
                packets[0] = _without_version(packets[0], stream)
            _restamp(packets, times, spec.duration)
            output.mux(packets)
    except av.FFmpegError as error:
        raise _encode_failed(spec, error) from error
    return times


def _encode_failed(spec: Mp4Spec, reason: object) -> ItemError:
    return ItemError(
        "EncodeFailed",
        f"{spec.width}x{spec.height} {spec.pixel_format} cannot be encoded as {spec.codec}: {reason}",
        "choose another codec or size, or check the space left on the disk.",
    )


def _timescale(time_base: Fraction) -> int:
    """Ticks a second of the file: a multiple of the source's, as fine as players expect."""
    timescale = time_base.denominator
    while timescale < _MIN_TIMESCALE:
        timescale *= 2
    return timescale


def _encoder_options(spec: Mp4Spec) -> dict[str, str]:
    options = {"preset": spec.preset, "crf": str(spec.crf)}
    if spec.codec == "hevc":
        return options | {"x265-params": _X265_PARAMS}
    # Else x264's macroblock tree takes reciprocals that each make of processor rounds in its own way.
    return options | {"a53cc": "0", "x264-params": "cpu-independent=1"}


def _set_up(context: Any, picture: VideoFrame, spec: Mp4Spec) -> None:
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
    context.time_base = spec.time_base
    context.framerate = spec.fps.limit_denominator(1_000_000)
    context.gop_size = spec.keyframe_interval
    # One thread and no CPU-dependent shortcuts: the same bytes on every machine with this FFmpeg.
    context.thread_count = 1
    context.flags |= int(Flags.bitexact)
    context.codec_tag = _TAGS[spec.codec]
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    context.color_range = picture.color_range
    context.color_primaries = picture.color_primaries
    context.color_trc = picture.color_trc
    context.colorspace = picture.colorspace


def _without_version(packet: Packet[Any], stream: Any) -> Packet[Any]:
    """The first H.264 packet without x264's message that names its version and options."""
    stripped: Packet[Any] = BitStreamFilterContext("filter_units=remove_types=6", "h264").filter(packet)[0]
    stripped.stream, stripped.time_base = stream, stream.codec_context.time_base
    return stripped


def _restamp(packets: list[Packet[Any]], times: list[int], duration: int) -> None:
    """Gives packets in decoding order decode times whose steps are the frames' display durations.

    Encoders' own decode times drift from that at a variable frame rate, and MP4, which stores times as
    steps between decode times, would then state another duration and mean rate than the clip has.
    """
    coded_times = [packet.pts or 0 for packet in packets]
    delay = max(shown - coded for shown, coded in zip(times, coded_times, strict=True))
    durations = {a: b - a for a, b in zip(times, [*times[1:], duration], strict=True)}
    for packet, coded, shown in zip(packets, coded_times, times, strict=True):
        packet.dts = shown - delay
        packet.duration = durations[coded]
    packets[-1].duration = durations[times[-1]]
