"""Records that flow through the job: one per video, one per candidate clip. Small values and `Ref`s only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.annotations import (
    CameraMotion,
    Caption,
    CaptionUsage,
    ClipScores,
    EncodedClip,
    MeasuredWindow,
    MonoDepth,
    SampleImage,
    Shot,
    SpatialAnnotation,
    TrackedCamera,
)
from core.failures import Failure
from core.references import Ref
from core.time import FrameSpan
from core.video_info import VideoInfo

Scalar = str | int | float | bool | None

NOT_SCORED_REASON = "rejected before this model ran"
"""Reason of a missing score of a clip that the cheap limits had rejected already."""


class ClipStatus(StrEnum):
    """Where a candidate clip stands. A failed clip has `failure` set, a rejected one its reasons."""

    CANDIDATE = "candidate"
    KEPT = "kept"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord:
    """One input video on its way through the job.

    Attributes:
      video_id: stable id: the user's own from a manifest, or a hash of the normalized URI.
      uri: where the video is read from.
      extra: further manifest columns, carried to the tables untouched.
      page_url: the page that the video was downloaded from; `uri` is then the file in the store.
      fingerprint: identity of the content without reading it (size and modification time or etag).
      info: facts of the container.
      analysis: reference to the `VideoAnalysis` in the store.
      failure: set when a stage gave up; later stages pass the record on.
    """

    video_id: str
    uri: str
    extra: Mapping[str, Scalar] = field(default_factory=dict)
    page_url: str | None = None
    fingerprint: str | None = None
    info: VideoInfo | None = None
    analysis: Ref | None = None
    failure: Failure | None = None

    @property
    def key(self) -> str:
        return self.video_id

    @property
    def source_uri(self) -> str:
        """Where the video comes from, as the tables name it."""
        return self.page_url or self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoWindow:
    """A stretch of a long video that is measured by itself.

    Attributes:
      index: number of the window in its video.
      start_pts, end_pts: the frames with `start_pts <= pts < end_pts` belong to it; None: from the first, to the last.
      measured: what came of it.
    """

    video_id: str
    uri: str
    fingerprint: str | None
    info: VideoInfo
    index: int
    start_pts: int | None
    end_pts: int | None
    measured: MeasuredWindow | None = None
    failure: Failure | None = None

    @property
    def key(self) -> str:
        return f"{self.video_id}-w{self.index:04d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecord:
    """One candidate clip on its way through the job; at the end one row of the clip table.

    Attributes:
      width, height: upright picture of the interval, pixels (a stream may change its size midway).
      timestamp_repairs: frames of the source video whose timestamp had to be inferred or corrected.
      is_whole_video: whether the clip has all frames of its video.
      page_url: the page that the source video was downloaded from.
      image_hashes: perceptual hashes of the sample images, hexadecimal; flat pictures have none.
      duplicate_group: id of the clip that stands for this one and its near-duplicates; None without any.
      ocr_score: share of the picture under text, 0 to 1; None until scored.
      aesthetic_score: LAION aesthetic score, about 0 to 10; None until scored.
      ocr_reason, aesthetic_reason: why there is no score, where no model ran.
      ocr_model, aesthetic_model: id and digest of the model that made the score.
      rejection_reasons: the limits that the clip misses, in words.
      unchecked_limits: limits whose column had no value.
      caption_reason: why a kept clip has no caption.
    """

    clip_id: str
    video_id: str
    uri: str
    extra: Mapping[str, Scalar]
    fingerprint: str
    info: VideoInfo
    span: FrameSpan
    width: int
    height: int
    shot: Shot
    shot_index: int
    samples: tuple[SampleImage, ...]
    scores: ClipScores
    timestamp_repairs: int = 0
    is_whole_video: bool = False
    page_url: str | None = None
    image_hashes: tuple[str, ...] = ()
    duplicate_group: str | None = None
    ocr_score: float | None = None
    ocr_reason: str | None = None
    ocr_model: str | None = None
    aesthetic_score: float | None = None
    aesthetic_reason: str | None = None
    aesthetic_model: str | None = None
    status: ClipStatus = ClipStatus.CANDIDATE
    rejection_reasons: tuple[str, ...] = ()
    unchecked_limits: tuple[str, ...] = ()
    encoded: EncodedClip | None = None
    mono_depth: MonoDepth | None = None
    tracked: TrackedCamera | None = None
    geometry: SpatialAnnotation | None = None
    camera_motion: CameraMotion | None = None
    caption: Caption | None = None
    caption_reason: str | None = None
    caption_usage: CaptionUsage | None = None
    failure: Failure | None = None

    @property
    def key(self) -> str:
        return self.clip_id

    @property
    def source_uri(self) -> str:
        """Where the video comes from, as the tables name it."""
        return self.page_url or self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """One row of the failure table: what failed, where it came from, and why.

    Attributes:
      item: "input" (a listed source that is not processed), "video" or "clip".
      key: id of the item.
    """

    item: str
    key: str
    uri: str
    failure: Failure


def make_clip_id(video_id: str, index: int) -> str:
    """Id of the `index`-th candidate clip of a video."""
    return f"{video_id}_{index:05d}"


def make_video_id(uri: str) -> str:
    """Stable id of a video from its normalized URI: 16 hexadecimal digits of SHA-256.

    Among ten million videos the chance of any collision is below one in 300 000.
    """
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]
