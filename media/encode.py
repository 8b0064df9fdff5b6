"""Cuts a span of a video into a clip file: frame-accurate, exact PTS, reproducible bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Literal

from av.codec import Codec
from av.video.frame import VideoFrame
from pydantic import Field

from core.digest import digest_bytes
from core.failures import ItemError
from core.settings import Settings
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.audio import encode_audio
from media.color import HLG, PQ, is_rgb
from media.decode import DecodedFrame, VideoReader
from media.filters import FilterSpec, filter_frames, fit_size, nearest_format
from media.mp4 import ENCODERS, Mp4Spec, write_mp4
from media.planes import bit_depth, planar_format
from media.source import open_container
from media.stream_copy import copy_obstacle, copy_to_local

# How early a frame may be for its slot of the `max_fps` grid, as a fraction of the slot: PTS are rounded.
_EARLY = Fraction(1, 4)
# bwdif needs at least 3 x 4 samples of each plane, also of chroma.
_MIN_DEINTERLACED_PX = 16


class CutSettings(Settings):
    """Settings of clip encoding."""

    codec: Literal["h264", "hevc"] = Field(
        default="h264",
        description="Video codec. HEVC takes about twice the time; its files are mostly smaller.",
    )
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field(default="fast", description="Preset of x264 or x265; slower presets make smaller files.")
    )
    crf: int = Field(default=23, ge=0, le=51, description="Constant rate factor: 0 is best, 6 more halve the size.")
    max_short_side_px: int | None = Field(
        default=None, ge=32, description="Downscale clips whose short side is longer than this, in pixels."
    )
    max_fps: float | None = Field(default=None, gt=0, description="Drop frames of clips with a higher frame rate.")
    pixel_format: Literal["yuv420p", "yuv420p10", "source"] = Field(
        default="yuv420p",
        description="8-bit 4:2:0, which every player and training loader supports; 4:2:0 that keeps 10 bits of sources "
        "with more than 8; or the chroma subsampling and bit depth of the source.",
    )
    tone_map: Literal["auto", "bt709", "off"] = Field(
        default="auto",
        description="PQ and HLG video (HDR): tone map to BT.709 (`bt709`), keep its samples and tags (`off`), or tone "
        "map 8-bit clips only (`auto`): loaders and pretrained models take 8-bit frames for BT.709.",
    )
    deinterlace: Literal["auto", "off"] = Field(
        default="auto",
        description="Deinterlace the frames that are flagged as interlaced (bwdif), and no others, or keep them.",
    )
    whole_video: Literal["encode", "copy"] = Field(
        default="encode",
        description="A clip that is a whole video: encode it like others, or copy the file byte for byte (audio "
        "too) if it is an upright MP4 of H.264, HEVC, AV1 or VP9 that needs neither scaling nor a lower frame rate; "
        "others are encoded.",
    )
    audio: Literal["drop", "keep"] = Field(
        default="drop",
        description="Sound of the first audio stream: none, or AAC of 64 kbit/s a channel, mono or stereo, in sync "
        "within 10 ms. Videos with repaired timestamps get none. Files that `whole_video` copies keep theirs.",
    )
    keyframe_interval: int = Field(
        default=60,
        ge=1,
        description="Maximum GOP length in frames. Shorter GOPs speed up random access; 60 costs up to 3 % over 250.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """A finished clip.

    Attributes:
      width, height: size in pixels, upright.
      num_frames: number of frames.
      duration_s: from the first frame to the end of the last; exactly that of the span.
      fps: mean frame rate: `num_frames / duration_s`.
      time_base: seconds per timestamp unit of the file.
      codec: FFmpeg's name; "h264" or "hevc" where it was encoded.
      pixel_format: FFmpeg's name.
      is_deinterlaced: whether any frame was deinterlaced.
      has_audio: whether there is an audio stream.
      size_bytes: length of the file.
      digest: SHA-256 of the file, hexadecimal, 128 bits.
    """

    width: int
    height: int
    num_frames: int
    duration_s: Fraction
    fps: Fraction
    time_base: Fraction
    codec: str
    pixel_format: str
    is_deinterlaced: bool
    has_audio: bool
    size_bytes: int
    digest: str


def cut_clip(
    uri: str,
    span: FrameSpan,
    info: VideoInfo,
    settings: CutSettings,
    output_path: str,
    *,
    use_index: bool | None = None,
) -> CutResult:
    """Encodes the frames of a span into an MP4 file.

    With the sound, if `settings.audio` says so.

    PTS start at 0 and keep their exact distances, in the source's time base or a whole fraction of it: a variable
    frame rate is preserved. The last frame lasts until the end of the span. Frames are rotated upright, of even size
    (an odd row or column at the right or bottom is cropped) and never enlarged. Sample aspect ratio, color range,
    primaries, transfer and matrix are kept; what is untagged gets the tags that `media.color` assumes. Equal input
    gives equal bytes with one build of FFmpeg. The packets of the clip are held in memory.

    Args:
      uri: the source video.
      span: the frames to cut.
      info: metadata of the source video.
      settings: encoder settings.
      output_path: local file to write; removed again on failure.
      use_index: as for `VideoReader`.

    Raises:
      ItemError: ResolutionChange or PixelFormatChange inside the span, CutMismatch if frames, PTS or duration of the
        file are wrong, EncodeFailed, UnsupportedFormat, or what opening and reading the source raise.
    """
    try:
        with VideoReader(uri, use_index=use_index) as reader:
            interlaced: list[int] = []
            frames = _check_uniform(uri, span, reader.frames_in(span), interlaced)
            first = next(frames)
            filters = _plan_filters(first.frame, info, settings)
            filtered = filter_frames(_raw_frames(first, frames), filters, span.time_base)
            thinned = _limit_fps(filtered, span, settings.max_fps)
            # Frames with repaired timestamps do not tell which sound is theirs.
            has_audio = settings.audio == "keep" and info.has_audio and use_index is not False
            audio = (lambda output: encode_audio(output, uri, span)) if has_audio else (lambda output: [])
            expected_pts = write_mp4(output_path, thinned, _mp4_spec(span, filters, info, settings), audio)
        result = _verify_clip(output_path, span, filters, settings, expected_pts)
        return replace(result, is_deinterlaced=filters.deinterlace and bool(interlaced))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(output_path)
        raise


def copy_clip(uri: str, span: FrameSpan, info: VideoInfo, settings: CutSettings, output_path: str) -> CutResult | None:
    """Copies a whole video file as a clip.

    None if it must be encoded (see `copy_obstacle`).

    PTS are those of the file: the first frame need not be at 0.

    Args:
      uri: the source video.
      span: all its frames.
      info: metadata of the source video.
      settings: encoder settings; scaling or a lower frame rate rules a copy out.
      output_path: local file to write.

    Raises:
      ItemError: what opening the source raises.
    """
    short_side = min(info.display_width, info.display_height)
    scales = settings.max_short_side_px is not None and short_side > settings.max_short_side_px
    drops_frames = settings.max_fps is not None and span.fps > Fraction(settings.max_fps).limit_denominator(1001)
    if scales or drops_frames or _maps_tones(info.is_hdr, settings, 8) or copy_obstacle(uri, span, info) is not None:
        return None
    digest = copy_to_local(uri, output_path)
    return CutResult(
        width=info.display_width,
        height=info.display_height,
        num_frames=span.num_frames,
        duration_s=span.duration_s,
        fps=span.fps,
        time_base=info.time_base,
        codec=info.codec,
        pixel_format=info.pixel_format,
        is_deinterlaced=False,
        has_audio=info.has_audio,
        size_bytes=os.path.getsize(output_path),
        digest=digest,
    )


def _check_uniform(
    uri: str, span: FrameSpan, frames: Iterator[DecodedFrame], interlaced: list[int]
) -> Iterator[DecodedFrame]:
    """Yields the frames of a span; raises if size, format or number is unexpected.

    Indices of frames that are flagged as interlaced are appended to `interlaced`.
    """
    first: VideoFrame | None = None
    count = 0
    for decoded in frames:
        count += 1
        frame = decoded.frame
        if frame.interlaced_frame:
            interlaced.append(decoded.index)
        if first is None:
            first = frame
        elif (frame.width, frame.height) != (first.width, first.height):
            raise ItemError(
                "ResolutionChange",
                f"{uri!r} changes from {first.width}x{first.height} to {frame.width}x{frame.height} at frame "
                f"{decoded.index}, inside [{span.start_frame}, {span.end_frame})",
                "split the clip there.",
            )
        elif frame.format.name != first.format.name:
            raise ItemError(
                "PixelFormatChange",
                f"{uri!r} changes from {first.format.name} to {frame.format.name} at frame {decoded.index}, "
                f"inside [{span.start_frame}, {span.end_frame})",
                "split the clip there.",
            )
        yield decoded
    if count != span.num_frames:
        raise ItemError(
            "CutMismatch",
            f"{uri!r} gives {count} frames for [{span.start_frame}, {span.end_frame})",
            "analyze the video again: it was replaced, or is damaged.",
        )


def _raw_frames(first: DecodedFrame, rest: Iterator[DecodedFrame]) -> Iterator[VideoFrame]:
    yield first.frame
    for decoded in rest:
        yield decoded.frame


def _plan_filters(frame: VideoFrame, info: VideoInfo, settings: CutSettings) -> FilterSpec:
    width, height = fit_size(frame.width, frame.height, settings.max_short_side_px)
    upright_width, upright_height = (height, width) if info.rotation_deg in (90, 270) else (width, height)
    if settings.pixel_format == "source":
        supported = [f.name for f in Codec(ENCODERS[settings.codec], "w").video_formats or ()]
        pixel_format = nearest_format(frame.format.name, supported)
    elif settings.pixel_format == "yuv420p10" and bit_depth(frame.format.name) > 8:
        pixel_format = "yuv420p10le"
    else:
        pixel_format = "yuvj420p" if frame.format.name.startswith("yuvj") else "yuv420p"
    transfer = int(frame.color_trc)
    clip_bits = bit_depth(pixel_format)
    return FilterSpec(
        width=max(2, upright_width // 2 * 2),
        height=max(2, upright_height // 2 * 2),
        scaled_width=width,
        scaled_height=height,
        pixel_format=pixel_format,
        deinterlace=settings.deinterlace == "auto" and _can_deinterlace(frame),
        tone_mapped_from=transfer if _maps_tones(transfer in (PQ, HLG), settings, clip_bits) else None,
        rotation_deg=info.rotation_deg,
        is_mirrored=info.is_mirrored,
    )


def _can_deinterlace(frame: VideoFrame) -> bool:
    """Whether bwdif takes frames of this format without loss (RGB and gray are never interlaced) and size."""
    name = frame.format.name
    is_yuv = planar_format(name).startswith("yuv") and not is_rgb(name)
    return is_yuv and min(frame.width, frame.height) >= _MIN_DEINTERLACED_PX


def _maps_tones(is_hdr: bool, settings: CutSettings, clip_bits: int) -> bool:
    return is_hdr and (settings.tone_map == "bt709" or (settings.tone_map == "auto" and clip_bits <= 8))


def _limit_fps(
    filtered: Iterator[tuple[int, VideoFrame]], span: FrameSpan, max_fps: float | None
) -> Iterator[tuple[int, VideoFrame]]:
    """Keeps the first frame in each slot of 1 / max_fps seconds."""
    slots_per_tick = None if max_fps is None else Fraction(max_fps).limit_denominator(1001) * span.time_base
    last_slot = -1
    for source_pts, frame in filtered:
        pts = source_pts - span.start_pts
        if slots_per_tick is not None:
            slot = floor(pts * slots_per_tick + _EARLY)
            if slot <= last_slot:
                continue
            last_slot = slot
        yield pts, frame


def _mp4_spec(span: FrameSpan, filters: FilterSpec, info: VideoInfo, settings: CutSettings) -> Mp4Spec:
    ratio = info.sample_aspect_ratio
    return Mp4Spec(
        codec=settings.codec,
        preset=settings.preset,
        crf=settings.crf,
        keyframe_interval=settings.keyframe_interval,
        width=filters.width,
        height=filters.height,
        pixel_format=filters.pixel_format,
        sample_aspect_ratio=1 / ratio if info.rotation_deg in (90, 270) else ratio,
        time_base=span.time_base,
        fps=span.fps,
        duration=span.end_pts - span.start_pts,
    )


def _verify_clip(
    path: str, span: FrameSpan, filters: FilterSpec, settings: CutSettings, expected_pts: list[int]
) -> CutResult:
    """Checks the PTS and duration of the finished file, and describes it."""
    with open_container(path) as container:
        stream = container.streams.video[0]
        time_base = stream.time_base or Fraction(1)
        times = sorted(p.pts * time_base for p in container.demux(stream) if p.size and p.pts is not None)
        duration_s = (stream.duration or 0) * time_base
        has_audio = bool(container.streams.audio)
    if times != [pts * span.time_base for pts in expected_pts] or duration_s != span.duration_s:
        raise ItemError(
            "CutMismatch",
            f"the clip of [{span.start_frame}, {span.end_frame}) has {len(times)} frames in {duration_s} s, "
            f"expected were {len(expected_pts)} in {span.duration_s} s, or their times differ",
            "report this with the source video: it is a bug.",
        )
    with open(path, "rb") as file:
        data = file.read()
    return CutResult(
        width=filters.width,
        height=filters.height,
        num_frames=len(times),
        duration_s=duration_s,
        fps=len(times) / duration_s,
        time_base=time_base,
        codec=settings.codec,
        pixel_format=filters.pixel_format,
        is_deinterlaced=False,
        has_audio=has_audio,
        size_bytes=len(data),
        digest=digest_bytes(data),
    )
