"""What is known of a video before it is decoded: the answer of `media.probe.probe_video`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Facts of a video's container, its chosen stream and its first frame.

    To show a decoded frame upright: stretch its width by `sample_aspect_ratio`, rotate it by
    `rotation_deg` clockwise, then, if `is_mirrored`, swap left and right.

    Attributes:
      container: FFmpeg's name of the file format, e.g. "mov,mp4,m4a,3gp,3g2,mj2".
      stream_index: index of the chosen video stream in the container.
      codec: name of the video codec, e.g. "h264".
      profile: codec profile, None where the codec has none.
      pixel_format: FFmpeg's name of the decoded frames' format, e.g. "yuv420p10le".
      bit_depth: bits per luma (or red) sample.
      coded_width, coded_height: size of a decoded frame, in pixels, before any rotation.
      display_width, display_height: the same after rotation, before the sample aspect ratio.
      rotation_deg: clockwise turn that makes a decoded frame upright: 0, 90, 180 or 270.
      is_mirrored: whether the turned frame must be flipped left to right as well.
      sample_aspect_ratio: width : height of one coded pixel; 1 where the stream says nothing.
      color_range: "limited", "full" or None (unknown: limited is assumed by convention).
      color_matrix, color_primaries, color_transfer: FFmpeg's names, None where unspecified.
      is_hdr: the transfer is PQ or HLG.
      time_base: seconds per timestamp unit.
      start_pts: timestamp of the first decoded frame, in units of `time_base`.
      average_fps: mean frame rate as the header or the demuxer tells; None if unknown.
      nominal_fps: lowest rate that can hold all timestamps seen at opening (FFmpeg's r_frame_rate).
      duration_s: length of the stream, or else of the container, as the header tells.
      header_frames: number of frames as the header tells; a truncated file has fewer.
      is_variable_frame_rate: the timestamps of the first packets, or the mean rate of the whole
        file against theirs, do not lie on one regular grid.
      field_order: "progressive", "tt", "bb", "tb", "bt", or None if unknown.
      is_interlaced: the stream or its first frame is flagged as interlaced.
      has_audio: whether there is an audio stream.
      audio_codec: name of the first audio stream's codec.
      size_bytes: length of the file.
      bit_rate: bits per second of the whole file; None if unknown.
    """

    container: str
    stream_index: int
    codec: str
    profile: str | None
    pixel_format: str
    bit_depth: int
    coded_width: int
    coded_height: int
    display_width: int
    display_height: int
    rotation_deg: int
    is_mirrored: bool
    sample_aspect_ratio: Fraction
    color_range: str | None
    color_matrix: str | None
    color_primaries: str | None
    color_transfer: str | None
    is_hdr: bool
    time_base: Fraction
    start_pts: int
    average_fps: Fraction | None
    nominal_fps: Fraction | None
    duration_s: Fraction | None
    header_frames: int | None
    is_variable_frame_rate: bool
    field_order: str | None
    is_interlaced: bool
    has_audio: bool
    audio_codec: str | None
    size_bytes: int
    bit_rate: int | None
