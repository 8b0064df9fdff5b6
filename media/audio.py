"""Cuts the sound of a span: sample-accurate, encoded as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import Flags
from av.packet import Packet

from core.arrays import Float32Array
from core.time import FrameSpan
from media.source import open_container

_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
_RATE, _BIT_RATE_PER_CHANNEL = 48000, 64000
# Decoders of overlapping transforms need packets before the first wanted one.
_PREROLL_S = Fraction(1, 2)
# Containers round timestamps; a smaller offset is no gap.
_MAX_OFFSET_S = Fraction(1, 100)


def encode_audio(output: Any, uri: str, span: FrameSpan) -> list[Packet[Any]]:
    """Adds the sound of a span to an MP4 file as AAC.

    Returns its packets; none without sound.

    The first audio stream is decoded and encoded: packets of 21 ms cannot be copied sample-accurately, and the first
    copied one would lack the one that it overlaps. Mono stays mono, other layouts become stereo. Sound keeps its time
    to 10 ms; gaps and spans without sound are silent, undecodable packets too. Equal input gives equal bytes with one
    build of FFmpeg on one kind of processor.

    Args:
      output: PyAV's output container; its header is not written yet.
      uri: the source video, whose timestamps needed no repair.
      span: the frames of the clip.
    """
    with open_container(uri) as source:
        if not source.streams.audio:
            return []
        stream = source.streams.audio[0]
        rate = stream.rate if stream.rate in _AAC_RATES else _RATE
        layout = "mono" if stream.channels == 1 else "stereo"
        encoder: Any = output.add_stream("aac", rate=rate, layout=layout)
        context = encoder.codec_context
        context.bit_rate = _BIT_RATE_PER_CHANNEL * context.layout.nb_channels
        context.thread_count = 1
        context.flags |= int(Flags.bitexact)
        packets: list[Packet[Any]] = []
        position = 0
        read = _read_samples(source, stream, span, rate, layout)
        shape = context.layout.nb_channels, round(span.duration_s * rate)
        for samples in _align(read, shape, round(_MAX_OFFSET_S * rate)):
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
            position += samples.shape[1]
            packets += encoder.encode(frame)
        return packets + encoder.encode(None)


def _read_samples(
    source: Any, stream: Any, span: FrameSpan, rate: int, layout: str
) -> Iterator[tuple[int, Float32Array]]:
    """Yields sample offsets from the span's start, and (channels, n) samples."""
    start_s, duration = span.start_s, span.duration_s * rate
    if span.start_frame:
        source.seek(int((start_s - _PREROLL_S) / stream.time_base), stream=stream)
    resampler: Any = None
    resampled: tuple[str, str, int] | None = None
    for packet in source.demux(stream):
        try:
            decoded = packet.decode()
        except av.InvalidDataError:
            continue
        for frame in decoded:
            if frame.pts is None:
                continue
            kind = frame.format.name, frame.layout.name, frame.sample_rate
            if resampler is None or kind != resampled:
                resampler, resampled = AudioResampler("fltp", layout, rate), kind
            for block in resampler.resample(frame):
                offset = round((block.pts * block.time_base - start_s) * rate)
                if offset >= duration:
                    return
                yield offset, block.to_ndarray()


def _align(
    blocks: Iterator[tuple[int, Float32Array]], shape: tuple[int, int], tolerance: int
) -> Iterator[Float32Array]:
    """Yields blocks of `shape` in all, with silence in gaps and overlaps cut.

    A block at most `tolerance` samples off the end of the one before follows it directly.
    """
    channels, count = shape
    written, expected = 0, None
    for offset, samples in blocks:
        if expected is None or abs(offset - expected) > tolerance:
            expected = offset
        kept = samples[:, max(0, written - expected) : max(0, count - expected)]
        start = max(expected, written)
        expected += samples.shape[1]
        if kept.shape[1]:
            yield from _silence(channels, start - written)
            yield kept
            written = start + kept.shape[1]
    yield from _silence(channels, count - written)


def _silence(channels: int, count: int) -> Iterator[Float32Array]:
    for start in range(0, count, _RATE):
        yield np.zeros((channels, min(_RATE, count - start)), np.float32)
