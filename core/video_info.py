"""Properties of a video that `media.probe.probe_video` reads before decoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from core.columns import column


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video's container, its chosen stream and its first frame.

    To show a decoded frame upright: stretch its width by `sample_aspect_ratio`, rotate it by
    `rotation_deg` clockwise, then, if `is_mirrored`, swap left and right.

    Attributes:
      stream_index: index of the chosen video stream in the container.
      profile: codec profile, None where the codec has none.
      coded_width, coded_height: size of a decoded frame, in pixels, before any rotation.
      display_width, display_height: the same after rotation, before the sample aspect ratio.
      is_mirrored: whether the rotated frame must be flipped left to right as well.
      time_base: seconds per timestamp unit.
      start_pts: timestamp of the first decoded frame, in units of `time_base`.
      nominal_fps: lowest rate that can hold all timestamps seen at opening (FFmpeg's r_frame_rate).
      duration_s: length of the stream, or else of the container, according to the header; None if absurd.
      stated_duration_s: the same, if the header states it of the video stream; None if it is estimated, or may be that
        of the sound.
      header_frames: number of frames according to the header; a truncated file has fewer.
      field_order: "progressive", "tt", "bb", "tb", "bt", or None if unknown.
      audio_codec: name of the first audio stream's codec.
      bit_rate: bits per second of the whole file; None if unknown.
    """

    container: str = field(metadata=column("FFmpeg's name of the container format"))
    stream_index: int
    codec: str = field(metadata=column("video codec"))
    profile: str | None
    pixel_format: str = field(metadata=column("FFmpeg's name of the decoded frames' format"))
    bit_depth: int = field(metadata=column("bits per luma (or red) sample"))
    coded_width: int
    coded_height: int
    display_width: int = field(metadata=column("width of the upright image", unit="pixels", name="width"))
    display_height: int = field(metadata=column("height of the upright image", unit="pixels", name="height"))
    rotation_deg: int = field(
        metadata=column("clockwise rotation that makes a decoded frame upright: 0, 90, 180 or 270", unit="degrees")
    )
    is_mirrored: bool
    sample_aspect_ratio: Fraction = field(
        metadata=column("width / height of one coded pixel; 1 where the stream says nothing")
    )
    average_fps: Fraction | None = field(
        metadata=column(
            "frame rate by the header or the demuxer, which can differ from the measured fps; null if unknown",
            name="header_fps",
        )
    )
    is_variable_frame_rate: bool = field(
        metadata=column(
            "whether the timestamps of the first packets, or the mean rate of the whole file against theirs, do not "
            "lie on one regular grid"
        )
    )
    is_interlaced: bool = field(metadata=column("whether the stream or its first frame is flagged as interlaced"))
    color_range: str | None = field(metadata=column("limited or full, as tagged; null: untagged (docs/color.md)"))
    color_matrix: str | None = field(
        metadata=column("FFmpeg's name of the matrix coefficients; null: untagged (docs/color.md)")
    )
    color_primaries: str | None = field(metadata=column("FFmpeg's name of the color primaries; null: unspecified"))
    color_transfer: str | None = field(
        metadata=column("FFmpeg's name of the transfer characteristics; null: unspecified")
    )
    is_hdr: bool = field(metadata=column("whether the stream is tagged PQ or HLG"))
    time_base: Fraction
    start_pts: int
    nominal_fps: Fraction | None
    start_time_s: Fraction = field(
        metadata=column(
            "start of the container's first stream; tools that count from the start of the file show a frame at its "
            "time minus this",
            unit="seconds",
        )
    )
    duration_s: Fraction | None
    stated_duration_s: Fraction | None
    header_frames: int | None
    field_order: str | None
    has_audio: bool = field(metadata=column("whether there is an audio stream"))
    audio_codec: str | None
    size_bytes: int = field(metadata=column("size of the file", unit="bytes"))
    bit_rate: int | None
