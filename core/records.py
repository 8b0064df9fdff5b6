"""Records of the job: one per video, one per candidate clip.

They hold small values and `Ref`s only.
"""

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
from core.columns import column
from core.failures import Failure
from core.references import Ref
from core.scores import Score
from core.time import FrameSpan
from core.video_info import VideoInfo

Scalar = str | int | float | bool | None


class ClipStatus(StrEnum):
    """Status of a candidate clip.

    A failed clip has `failure` set, a rejected one its reasons.
    """

    CANDIDATE = "candidate"
    KEPT = "kept"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord:
    """One input video; it becomes one row of the video table.

    Attributes:
      uri: where the video is read from.
      extra: further manifest columns, carried to the tables untouched.
      page_url: the page that the video was downloaded from; `uri` is then the file in the store.
      info: properties of the container.
      analysis: reference to the `VideoAnalysis` in the store.
      failure: set when a stage gave up; later stages pass the record on.
    """

    video_id: str = field(metadata=column("stable id: the manifest's own, or a hash of the normalized URI"))
    uri: str
    extra: Mapping[str, Scalar] = field(default_factory=dict)
    page_url: str | None = None
    fingerprint: str | None = field(
        default=None, metadata=column("identity of the content: size and modification time or etag")
    )
    info: VideoInfo | None = None
    analysis: Ref | None = None
    failure: Failure | None = None

    @property
    def key(self) -> str:
        return self.video_id

    @property
    def source_uri(self) -> str:
        """Origin of the video, as the tables name it."""
        return self.page_url or self.uri

    @property
    def outcome(self) -> str:
        return "failed" if self.failure else "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoWindow:
    """A time window of a long video, measured separately.

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
    """One candidate clip; it becomes one row of the clip table.

    Attributes:
      timestamp_repairs: frames of the source video whose timestamp had to be inferred or corrected.
      is_whole_video: whether the clip has all frames of its video.
      page_url: the page that the source video was downloaded from.
      image_hashes: perceptual hashes of the sample images, hexadecimal; flat images have none.
      scores: scores by models, by the name of their `ScoreSpec`.
    """

    clip_id: str = field(metadata=column("<video_id>_<5-digit index>"))
    video_id: str = field(metadata=column("id of the source video"))
    uri: str
    extra: Mapping[str, Scalar]
    fingerprint: str
    info: VideoInfo
    span: FrameSpan
    width: int = field(metadata=column("width of the upright source image in the clip's interval", unit="pixels"))
    height: int = field(metadata=column("height of the same", unit="pixels"))
    shot: Shot
    shot_index: int = field(metadata=column("shot of the source video that the clip lies in"))
    samples: tuple[SampleImage, ...]
    cheap_scores: ClipScores
    timestamp_repairs: int = 0
    is_whole_video: bool = False
    page_url: str | None = None
    image_hashes: tuple[str, ...] = ()
    duplicate_group: str | None = field(
        default=None,
        metadata=column(
            "id of the clip that represents this one and its near-duplicates; null without any", stage="FindDuplicates"
        ),
    )
    scores: Mapping[str, Score] = field(default_factory=dict)
    status: ClipStatus = field(
        default=ClipStatus.CANDIDATE, metadata=column("kept, rejected or failed", stage="ApplyThresholds")
    )
    rejection_reasons: tuple[str, ...] = field(
        default=(), metadata=column("every limit that the clip misses", stage="ApplyThresholds")
    )
    unchecked_limits: tuple[str, ...] = field(
        default=(),
        metadata=column("limits that could not be checked, since their column is null", stage="ApplyThresholds"),
    )
    encoded: EncodedClip | None = None
    mono_depth: MonoDepth | None = None
    tracked: TrackedCamera | None = None
    geometry: SpatialAnnotation | None = None
    camera_motion: CameraMotion | None = None
    caption: Caption | None = None
    caption_reason: str | None = field(default=None, metadata=column("why a kept clip has no caption"))
    caption_usage: CaptionUsage | None = None
    shard: str | None = field(default=None, metadata=column("tar that holds the clip's files; null unless kept"))
    failure: Failure | None = None

    @property
    def key(self) -> str:
        return self.clip_id

    @property
    def source_uri(self) -> str:
        """Origin of the video, as the tables name it."""
        return self.page_url or self.uri

    @property
    def video_path(self) -> str | None:
        """Name of the clip's video inside its shard."""
        return f"{self.clip_id}.mp4" if self.shard else None

    @property
    def resolution(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def aspect_ratio(self) -> float:
        return self.width / self.height

    @property
    def sample_frames(self) -> tuple[int, ...]:
        return tuple(sample.frame for sample in self.samples)

    @property
    def sample_images(self) -> tuple[str, ...]:
        """The sample images' paths below the output folder."""
        return tuple(f"store/{sample.image.path}" for sample in self.samples)

    @property
    def dynamic_ratio(self) -> float | None:
        """Mean share of moving pixels: of the frames with poses where their trajectory is measured."""
        found = self.camera_motion.trajectory if self.camera_motion else self.geometry
        return found.dynamic_ratio if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """One row of the failure table: what failed, where it came from, and why."""

    item: str = field(metadata=column("input (listed but not processed), video or clip"))
    key: str = field(metadata=column("id of the item"))
    uri: str = field(metadata=column("where its video was read", name="source_uri"))
    failure: Failure


def make_clip_id(video_id: str, index: int) -> str:
    """Id of the `index`-th candidate clip of a video."""
    return f"{video_id}_{index:05d}"


def make_video_id(uri: str) -> str:
    """Stable id of a video from its normalized URI: 16 hexadecimal digits of SHA-256.

    Among ten million videos the chance of any collision is below one in 300 000.
    """
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]
