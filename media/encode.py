"""Cutting a span of a video into a file of its own: exact frames and times, reproducible bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
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
from media.decode import DecodedFrame, VideoReader
from media.filters import SamplePlan, fit_size, make_pictures, nearest_format
from media.mp4 import ENCODERS, Mp4Spec, write_mp4
from media.source import open_container
from media.stream_copy import copy_file, why_not_copied

# How much of a slot of the `max_fps` grid a frame may come early: timestamps are rounded.
_EARLY = Fraction(1, 4)


class CutSettings(Settings):
    """How clips are encoded."""

    codec: Literal["h264", "hevc"] = Field(
        default="h264",
        description="Video codec. HEVC takes about twice the time, and mostly makes smaller files.",
    )
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field(default="fast", description="Speed of x264 or x265; slower presets make smaller files.")
    )
    crf: int = Field(default=23, ge=0, le=51, description="Constant rate factor: 0 is best, 6 more halve the size.")
    max_short_side_px: int | None = Field(
        default=None, ge=32, description="Shrink clips whose shorter side is longer than this, in pixels."
    )
    max_fps: float | None = Field(
        default=None, gt=0, description="Drop frames of clips that have more of them a second."
    )
    pixel_format: Literal["yuv420p", "source"] = Field(
        default="yuv420p",
        description="8-bit 4:2:0, which everything can read, or the source's own sampling and bit depth.",
    )
    deinterlace: Literal["auto", "off"] = Field(
        default="auto",
        description="Deinterlace (bwdif) frames that are flagged as interlaced, or leave them.",
    )
    whole_video: Literal["encode", "copy"] = Field(
        default="encode",
        description="A clip that is a whole video: encode it like others, or take the file over byte for byte (sound "
        "too) where it is an upright MP4 of H.264, HEVC, AV1 or VP9 that is to be neither shrunk nor thinned; others "
        "are encoded.",
    )
    keyframe_interval: int = Field(
        default=60,
        ge=1,
        description="Most frames between key frames. Fewer make random access faster; 60 costs up to 3 % over 250.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """A finished clip.

    Attributes:
      width, height: size in pixels, upright.
      num_frames: number of frames.
      duration_s: from the first frame to the end of the last; that of the span, exactly.
      fps: mean frame rate: `num_frames / duration_s`.
      time_base: seconds per timestamp unit of the file.
      codec: FFmpeg's name; "h264" or "hevc" where it was encoded.
      pixel_format: FFmpeg's name.
      is_deinterlaced: whether the deinterlacer ran.
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
    """Encodes the frames of a span into an MP4 file, video only.

    The first frame is at time 0; each other one keeps its exact distance to it, in ticks of the source's
    time base or a whole fraction of them, so a variable frame rate stays as it is. The last frame lasts
    until the end of the span. Pictures are turned upright, of even size (an odd row or column at the
    right or bottom is cropped) and never enlarged; sample aspect ratio and color tags are kept. Equal
    input gives equal bytes on one build of FFmpeg. The coded packets of the clip are held in memory.

    Args:
      uri: the source video.
      span: what to cut.
      info: facts of the source video.
      settings: how to encode.
      output_path: local file to write; removed again on failure.
      use_index: as for `VideoReader`.

    Raises:
      ItemError: ResolutionChange or PixelFormatChange if the frames of the span are not of one kind,
        CutMismatch if the file does not hold what was asked, EncodeFailed, UnsupportedFormat, or what
        opening and reading the source raise.
    """
    try:
        with VideoReader(uri, use_index=use_index) as reader:
            frames = _uniform(uri, span, reader.frames_in(span))
            first = next(frames)
            plan = _plan_pictures(first.frame, info, settings)
            pictures = make_pictures(_joined(first, frames), plan, span.time_base)
            kept = _thinned(pictures, span, settings.max_fps)
            expected_pts = write_mp4(output_path, kept, _video_spec(span, plan, info, settings))
        return _verified(output_path, span, plan, settings, expected_pts)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(output_path)
        raise


def copy_clip(uri: str, span: FrameSpan, info: VideoInfo, settings: CutSettings, output_path: str) -> CutResult | None:
    """Takes a whole video file over as it is; None where it has to be encoded (see `why_not_copied`).

    Times are then the file's own: the first frame need not be at 0.

    Args:
      uri: the source video.
      span: all its frames.
      info: facts of the source video.
      settings: how clips are encoded; one that would shrink or thin the video forbids a copy.
      output_path: local file to write.

    Raises:
      ItemError: what opening the source raises.
    """
    shorter = min(info.display_width, info.display_height)
    shrinks = settings.max_short_side_px is not None and shorter > settings.max_short_side_px
    thins = settings.max_fps is not None and span.fps > Fraction(settings.max_fps).limit_denominator(1001)
    if shrinks or thins or why_not_copied(uri, span, info) is not None:
        return None
    digest = copy_file(uri, output_path)
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
        size_bytes=os.path.getsize(output_path),
        digest=digest,
    )


def _uniform(uri: str, span: FrameSpan, frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
    """Passes the frames of a span on, as long as they are of one size and format, and as many as expected."""
    first: VideoFrame | None = None
    count = 0
    for decoded in frames:
        count += 1
        frame = decoded.frame
        if first is None:
            first = frame
        elif (frame.width, frame.height) != (first.width, first.height):
            raise ItemError(
                "ResolutionChange",
                f"{uri!r} changes from {first.width}x{first.height} to {frame.width}x{frame.height} at frame "
                f"{decoded.index}, inside of [{span.start_frame}, {span.end_frame})",
                "split the clip there.",
            )
        elif frame.format.name != first.format.name:
            raise ItemError(
                "PixelFormatChange",
                f"{uri!r} changes from {first.format.name} to {frame.format.name} at frame {decoded.index}, "
                f"inside of [{span.start_frame}, {span.end_frame})",
                "split the clip there.",
            )
        yield decoded
    if count != span.num_frames:
        raise ItemError(
            "CutMismatch",
            f"{uri!r} gives {count} frames for [{span.start_frame}, {span.end_frame})",
            "analyze the video again: it was replaced, or is damaged.",
        )


def _joined(first: DecodedFrame, rest: Iterator[DecodedFrame]) -> Iterator[VideoFrame]:
    yield first.frame
    for decoded in rest:
        yield decoded.frame


def _plan_pictures(frame: VideoFrame, info: VideoInfo, settings: CutSettings) -> SamplePlan:
    width, height = fit_size(frame.width, frame.height, settings.max_short_side_px)
    turned_width, turned_height = (height, width) if info.rotation_deg in (90, 270) else (width, height)
    if settings.pixel_format == "source":
        supported = [f.name for f in Codec(ENCODERS[settings.codec], "w").video_formats or ()]
        pixel_format = nearest_format(frame.format.name, supported)
    else:
        pixel_format = "yuvj420p" if frame.format.name.startswith("yuvj") else "yuv420p"
    return SamplePlan(
        width=max(2, turned_width // 2 * 2),
        height=max(2, turned_height // 2 * 2),
        scaled_width=width,
        scaled_height=height,
        pixel_format=pixel_format,
        deinterlace=settings.deinterlace == "auto" and (info.is_interlaced or frame.interlaced_frame),
        rotation_deg=info.rotation_deg,
        is_mirrored=info.is_mirrored,
    )


def _thinned(
    pictures: Iterator[tuple[int, VideoFrame]], span: FrameSpan, max_fps: float | None
) -> Iterator[tuple[int, VideoFrame]]:
    """Counts times from the span's start, and keeps the first picture in each slot of 1/max_fps seconds."""
    slots_per_tick = None if max_fps is None else Fraction(max_fps).limit_denominator(1001) * span.time_base
    last_slot = -1
    for source_pts, picture in pictures:
        pts = source_pts - span.start_pts
        if slots_per_tick is not None:
            slot = floor(pts * slots_per_tick + _EARLY)
            if slot <= last_slot:
                continue
            last_slot = slot
        yield pts, picture


def _video_spec(span: FrameSpan, plan: SamplePlan, info: VideoInfo, settings: CutSettings) -> Mp4Spec:
    ratio = info.sample_aspect_ratio
    return Mp4Spec(
        codec=settings.codec,
        preset=settings.preset,
        crf=settings.crf,
        keyframe_interval=settings.keyframe_interval,
        width=plan.width,
        height=plan.height,
        pixel_format=plan.pixel_format,
        sample_aspect_ratio=1 / ratio if info.rotation_deg in (90, 270) else ratio,
        time_base=span.time_base,
        fps=span.fps,
        duration=span.end_pts - span.start_pts,
    )


def _verified(
    path: str, span: FrameSpan, plan: SamplePlan, settings: CutSettings, expected_pts: list[int]
) -> CutResult:
    """Opens the finished file and compares its frame times and duration with what they have to be."""
    with open_container(path) as container:
        stream = container.streams.video[0]
        time_base = stream.time_base or Fraction(1)
        times = sorted(p.pts * time_base for p in container.demux(stream) if p.size and p.pts is not None)
        duration_s = (stream.duration or 0) * time_base
    if times != [pts * span.time_base for pts in expected_pts] or duration_s != span.duration_s:
        raise ItemError(
            "CutMismatch",
            f"the clip of [{span.start_frame}, {span.end_frame}) has {len(times)} frames in {duration_s} s, "
            f"expected were {len(expected_pts)} in {span.duration_s} s, or their times differ",
            "report this with the source video: it is an error of the program.",
        )
    with open(path, "rb") as file:
        data = file.read()
    return CutResult(
        width=plan.width,
        height=plan.height,
        num_frames=len(times),
        duration_s=duration_s,
        fps=len(times) / duration_s,
        time_base=time_base,
        codec=settings.codec,
        pixel_format=plan.pixel_format,
        is_deinterlaced=plan.deinterlace,
        size_bytes=len(data),
        digest=digest_bytes(data),
    )
