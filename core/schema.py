"""Columns of the four tables, gathered from the records that declare them.

Derived values are declared here.
"""

from __future__ import annotations

from typing import Any

from core.annotations import (
    CameraMotion,
    Caption,
    CaptionUsage,
    ClipScores,
    EncodedClip,
    MonoDepth,
    Shot,
    SpatialAnnotation,
    TrackedCamera,
    TrajectoryMetrics,
    VideoAnalysis,
)
from core.columns import Column, Tier, columns_of, insert_before
from core.failures import Failure
from core.records import ClipRecord, FailureRecord, VideoRecord
from core.scores import SCORES
from core.serialization import field_types
from core.time import FrameSpan
from core.video_info import VideoInfo


def _derived(name: str, value_type: Any, meaning: str, path: str = "", **about: Any) -> Column:
    """A column from a property, or from a field without a column."""
    return Column(name=name, type=value_type, meaning=meaning, path=path or name, **about)


def _clip(*names: str, **about: Any) -> tuple[Column, ...]:
    return columns_of(ClipRecord, "", *names, **about)


def _failure_columns(item: str, path: str) -> tuple[Column, ...]:
    about = {"stage": "any", "tier": Tier.FINAL}
    return (
        _derived("failure_stage", str, f"stage that gave up on the {item}", f"{path}.stage", **about),
        _derived("failure_class", str, "class of the failure", f"{path}.error_class", **about),
        _derived("failure_message", str, "cause and remedy", f"{path}.message", **about),
    )


_ANALYSIS = {"stage": "AnalyzeVideo"}
_CUT = {"stage": "CutClips", "tier": Tier.LATE}
_GEOMETRY = {"stage": "EstimateGeometry", "tier": Tier.LATE}
_MOTION = {"stage": "LabelMotion", "tier": Tier.LATE}
_CAPTION = {"stage": "CaptionClips", "tier": Tier.FINAL}

_encoded = insert_before(
    columns_of(EncodedClip, "encoded", prefix="clip_", **_CUT),
    "clip_is_copy",
    _derived("clip_size_bytes", int, "size of the cut clip", "encoded.video.size_bytes", unit="bytes", **_CUT),
)
_geometry = insert_before(
    columns_of(SpatialAnnotation, "geometry", **_GEOMETRY),
    "pose_num_windows",
    *columns_of(TrackedCamera, "tracked", prefix="pose_", stage="TrackCameras", tier=Tier.LATE),
    *columns_of(MonoDepth, "mono_depth", prefix="depth_", stage="EstimateDepth", tier=Tier.LATE),
)

CLIP_COLUMNS = (
    *_clip("clip_id", "video_id", **_ANALYSIS),
    _derived("source_uri", str, "where the source video was read", stage="ListVideos"),
    *_clip("status", "rejection_reasons", "unchecked_limits"),
    *_clip("shard", stage="WriteDataset"),
    _derived("video_path", str, "name of the clip's video inside the shard; null unless kept", stage="WriteDataset"),
    _derived("num_frames", int, "frames of the source interval", "span.num_frames", **_ANALYSIS),
    _derived("fps", float, "mean frame rate of the source interval", "span.fps", **_ANALYSIS),
    *_clip("width", "height", **_ANALYSIS),
    _derived("resolution", str, "<width>x<height>", **_ANALYSIS),
    _derived("aspect_ratio", float, "width / height in pixels", **_ANALYSIS),
    *columns_of(FrameSpan, "span", **_ANALYSIS),
    _derived("time_base_num", int, "numerator of the time base in seconds", "span.time_base.numerator", **_ANALYSIS),
    _derived("time_base_den", int, "denominator of the same", "span.time_base.denominator", **_ANALYSIS),
    _derived("start_s", float, "start in seconds", "span.start_s", **_ANALYSIS),
    _derived("end_s", float, "end in seconds", "span.end_s", **_ANALYSIS),
    _derived("duration_s", float, "duration", "span.duration_s", unit="seconds", title="Duration", **_ANALYSIS),
    *_clip("shot_index", **_ANALYSIS),
    *columns_of(Shot, "shot", "boundary_kind", "boundary_confidence", prefix="shot_", **_ANALYSIS),
    _derived("sample_frames", list[int], "source frames that the image scorers looked at", **_ANALYSIS),
    _derived("sample_images", list[str], "their JPEGs, as paths below the output folder", **_ANALYSIS),
    *columns_of(ClipScores, "cheap_scores", **_ANALYSIS),
    *_clip("duplicate_group"),
    *(column for spec in SCORES for column in spec.columns()),
    *_encoded,
    _derived("clip_sha256_128", str, "first 128 bits of the SHA-256 of the cut clip", "encoded.video.digest", **_CUT),
    *insert_before(
        _geometry,
        "meters_per_unit",
        _derived(
            "pose_scale", str, "metric or relative: unit of translations and depth", "geometry.pose_scale", **_GEOMETRY
        ),
    ),
    *columns_of(TrajectoryMetrics, "camera_motion.trajectory", **_MOTION),
    *columns_of(CameraMotion, "camera_motion", **_MOTION),
    *columns_of(Caption, "caption", **_CAPTION),
    *_clip("caption_reason", **_CAPTION),
    *columns_of(CaptionUsage, "caption_usage", prefix="caption_", **_CAPTION),
    _derived("source_codec", str, "codec of the source", "info.codec", stage="ProbeVideo"),
    _derived("source_bit_depth", int, "bits per sample of the source", "info.bit_depth", stage="ProbeVideo"),
    *columns_of(VideoInfo, "info", "is_variable_frame_rate", "is_hdr", stage="ProbeVideo"),
    *_failure_columns("clip", "failure"),
)
"""Of one `ClipRecord` each row."""

VIDEO_COLUMNS = (
    *columns_of(VideoRecord, "video", "video_id", stage="ListVideos"),
    _derived("source_uri", str, "where the video was read", "video.source_uri", stage="ListVideos"),
    _derived("status", str, "done or failed", "video.outcome", stage="any"),
    *columns_of(VideoRecord, "video", "fingerprint", stage="ListVideos"),
    *columns_of(VideoInfo, "video.info", stage="ProbeVideo"),
    *insert_before(
        columns_of(VideoAnalysis, "analysis", **_ANALYSIS),
        "luminance_mean",
        _derived("num_shots", int, "detected shots", "analysis.num_shots", **_ANALYSIS),
        _derived("num_clips", int, "candidate clips", "analysis.num_clips", **_ANALYSIS),
    ),
    *_failure_columns("video", "video.failure"),
)
"""Of a `VideoRecord` and its `VideoAnalysis` each row."""

SHOT_COLUMNS = (
    *columns_of(VideoRecord, "video", "video_id", stage="ListVideos"),
    _derived("source_uri", str, "where the video was read", "video.source_uri", stage="ListVideos"),
    _derived("shot_index", int, "0-based, in order of time", **_ANALYSIS),
    *columns_of(Shot, "shot", **_ANALYSIS),
)
FAILURE_COLUMNS = (*columns_of(FailureRecord, "", stage="any"), *columns_of(Failure, "failure", stage="any"))

NUMERIC_CLIP_COLUMNS = {c.name: c for c in CLIP_COLUMNS if c.is_numeric and c.tier is not Tier.FINAL}
"""Columns that limits may name."""
MODEL_COLUMNS, LATE_COLUMNS = (
    frozenset(c.name for c in CLIP_COLUMNS if c.tier is tier) for tier in (Tier.MODEL, Tier.LATE)
)
"""Columns that are known after the models, and only of clips that all other columns let pass."""
CHEAP_FIELDS = frozenset(c.field for c in NUMERIC_CLIP_COLUMNS.values() if c.tier is Tier.CHEAP) & set(
    field_types(ClipRecord)
)
"""Record fields with the values that limits may use before the models run."""

CHARTED_COLUMNS = tuple(c for c in NUMERIC_CLIP_COLUMNS.values() if c.title)
"""Numbers whose distribution reports and statistics show."""
TAG_COLUMNS = tuple(c for c in CLIP_COLUMNS if c.title and c.type is str)
"""Texts of closed or small vocabularies, by which clips are counted."""
