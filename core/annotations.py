"""Values that stages compute for videos and clips.

Records carry them; large ones are files with a `Ref`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.columns import column
from core.references import Ref
from core.time import FrameSpan

LUMA_RANGE, SHARE = (0.0, 255.0), (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One detected shot, `[start, end)` in frames and seconds, and the boundary before it."""

    start_frame: int = field(metadata=column("first frame, display index"))
    end_frame: int = field(metadata=column("frame after the last one"))
    start_s: float = field(metadata=column("start in seconds"))
    end_s: float = field(metadata=column("end in seconds"))
    boundary_kind: str = field(
        metadata=column("how the shot begins: start, cut, dissolve, fade_in, fade_out, gap, format_change, ...")
    )
    boundary_start_frame: int = field(
        metadata=column("first frame that the transition touches; equal to start_frame for a cut")
    )
    boundary_confidence: float | None = field(
        metadata=column("confidence of the detector; null at the start of the video", range=SHARE)
    )
    luminance_mean: float = field(metadata=column("mean luminance over all frames of the shot", range=LUMA_RANGE))
    motion_mean: float = field(metadata=column("mean VMAF motion over all frames of the shot"))
    motion_normalized_mean: float = field(metadata=column("mean motion_normalized over all frames of the shot"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleImage:
    """Sample image of a clip: frame index in the source, time, JPEG in the store."""

    frame: int
    time_s: float
    image: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """Cheap scores of a clip from the analysis pass.

    The tables' conventions define luminance and motion.
    """

    luminance_score: float = field(
        metadata=column("mean luminance of the sample images", range=LUMA_RANGE, title="Luminance", limit=(20, 140))
    )
    luminance_min: float = field(metadata=column("least mean luminance of a sample image", range=LUMA_RANGE))
    luminance_max: float = field(metadata=column("largest mean luminance of a sample image", range=LUMA_RANGE))
    luminance_all_mean: float = field(metadata=column("mean luminance over every frame", range=LUMA_RANGE))
    luminance_all_min: float = field(metadata=column("least mean luminance of a frame", range=LUMA_RANGE))
    luminance_all_max: float = field(metadata=column("largest mean luminance of a frame", range=LUMA_RANGE))
    motion_score: float = field(
        metadata=column(
            "mean VMAF motion (integer_motion2) at native size",
            unit="luma units a frame",
            title="Motion",
            limit=(2, 14),
        )
    )
    motion_normalized: float = field(
        metadata=column(
            "mean absolute change of the 64x36 luma thumbnail in 0.1 s, comparable across sizes and frame rates",
            unit="luma units",
            title="Motion, normalized",
        )
    )
    damaged_frames: int = field(default=0, metadata=column("frames of the clip that decoded with concealed damage"))
    decode_errors: int = field(default=0, metadata=column("packets inside the clip that could not be decoded"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCandidate:
    """A candidate clip: interval, upright size in pixels, shot, sample images and cheap scores."""

    span: FrameSpan
    width: int
    height: int
    shot_index: int
    samples: tuple[SampleImage, ...]
    scores: ClipScores


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoAnalysis:
    """Results of a video's one decode.

    Shots and clips are in order of time.
    """

    num_frames: int = field(metadata=column("frames that decoded"))
    duration_s: float = field(metadata=column("how long all frames last, without gaps between them", unit="seconds"))
    fps: float = field(metadata=column("measured mean frame rate: num_frames / duration_s"))
    missing_share: float | None = field(
        metadata=column(
            "share of the duration that the header states, or of the frames in the index, that could not be read; "
            "null where the file states neither",
            range=SHARE,
        )
    )
    decode_errors: int = field(
        metadata=column("packets that could not be decoded, or whose frame came too late for its place")
    )
    first_decode_error: str | None = field(metadata=column("what the first of them was"))
    damaged_frames: int = field(metadata=column("frames that decoded with concealed damage"))
    timestamp_repairs: int = field(metadata=column("frames whose timestamp had to be inferred or corrected"))
    luminance_mean: float = field(metadata=column("mean luminance over all frames", range=LUMA_RANGE))
    motion_mean: float = field(metadata=column("mean VMAF motion over all frames"))
    shots: tuple[Shot, ...]
    clips: tuple[ClipCandidate, ...]

    @property
    def num_shots(self) -> int:
        return len(self.shots)

    @property
    def num_clips(self) -> int:
        return len(self.clips)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedClip:
    """The cut clip: its bytes in the store and what was measured on them."""

    video: Ref
    codec: str = field(metadata=column("codec of the cut clip"))
    pixel_format: str = field(metadata=column("pixel format of the cut clip"))
    width: int = field(metadata=column("width of the cut clip", unit="pixels"))
    height: int = field(metadata=column("height of the cut clip", unit="pixels"))
    num_frames: int = field(metadata=column("frames of the cut clip"))
    duration_s: float = field(metadata=column("duration of the cut clip", unit="seconds"))
    fps: float = field(metadata=column("mean frame rate of the cut clip"))
    is_copy: bool = field(
        default=False, metadata=column("whether the cut clip is the source file itself, byte for byte")
    )
    has_audio: bool = field(default=False, metadata=column("whether the cut clip has sound"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedCamera:
    """Cameras and depth of a clip, tracked by SLAM.

    Attributes:
      file: .npz of poses, intrinsics, depth and what stands still, of the annotated frames.
    """

    file: Ref
    model: str = field(metadata=column("id and digest of the network that tracked the camera; null if none did"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoDepth:
    """Depth that networks see in a clip's annotated frames.

    Attributes:
      file: .npz of `relative` and `metric` (n, h, w) float16 maps (inverse depth up to scale and shift; meters, 0 where
        unknown), where the network ran, `<kind>_focal_px` (n,) in pixels of the maps, and `frame` (n,) indices in the
        clip.
    """

    file: Ref
    relative_model: str | None = field(
        metadata=column("id and digest of the network for relative depth; null if none ran")
    )
    metric_model: str | None = field(metadata=column("id and digest of the network for metric depth; null if none ran"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationValues:
    """Values of a clip's spatial annotation.

    Attributes:
      dynamic_ratio: share of moving pixels in frames with a known mask; `TrajectoryMetrics` has that of the frames with
        poses.
    """

    num_annotated_frames: int = field(
        metadata=column("frames with annotation; the shard's frames.npy maps them to the clip's frames")
    )
    pose_ok: bool = field(metadata=column("whether the camera poses are fit for use"))
    pose_reason: str | None = field(
        metadata=column("why they are not; or, where they are, why a part of a long clip has none")
    )
    camera_motion_kind: str = field(metadata=column("general, rotation (the camera only turns) or static"))
    pose_registered_share: float = field(metadata=column("share of the annotated frames that have a pose", range=SHARE))
    pose_reprojection_px: float | None = field(
        metadata=column("root mean square reprojection error of the observations", unit="annotated pixels")
    )
    pose_num_points: int = field(metadata=column("3D points of the sparse reconstruction"))
    pose_dense_refined_share: float | None = field(
        metadata=column(
            "share of the frames between annotated ones whose pose in poses_dense.npy is confirmed by tracked points, "
            "not interpolated alone; null without that file",
            range=SHARE,
        )
    )
    meters_per_unit: float | None = field(
        default=None,
        metadata=column("unit of poses and depth in meters, from a metric depth network; null without"),
    )
    scene_depth: float | None = field(metadata=column("median depth of the scene's points", unit="the poses' unit"))
    pose_tracked_share: float | None = field(
        metadata=column(
            "mean share of pixels whose flow to the next annotated frame is forward-backward consistent", range=SHARE
        )
    )
    pose_focal_sigma: float | None = field(
        metadata=column(
            "standard deviation of the focal length as a share of it, by the curvature of the bundle adjustment; null "
            "where it was not estimated"
        )
    )
    pose_error_percent: float | None = field(
        metadata=column(
            "predicted absolute trajectory error, from the covariance of the bundle adjustment, solutions from halves "
            "of the tracks and a test for a changing focal length; of several windows the largest; null where it was "
            "not predicted",
            unit="% of the trajectory's length",
        )
    )
    pose_num_windows: int = field(metadata=column("windows that the poses are aligned from; longer clips need several"))
    pose_scale_drift: float | None = field(
        metadata=column("largest relative change of scale between two windows over their overlap; null for one window")
    )
    pose_join_offset: float | None = field(
        metadata=column(
            "largest root mean square distance of two windows' camera centers there; null for one window",
            unit="scene depths",
        )
    )
    depth_valid_share: float | None = field(
        metadata=column("share of pixels with a valid depth", range=SHARE, title="Pixels with depth")
    )
    depth_reprojection_error: float | None = field(
        metadata=column(
            "relative difference of depth reprojected to the next annotated frame and found there: median of pixels, "
            "mean of frames"
        )
    )
    depth_reason: str | None = field(metadata=column("why there is no depth"))
    masks_reason: str | None = field(metadata=column("why there are no dynamic masks"))
    masks_model: str | None = field(
        default=None,
        metadata=column("id and digest of the network that segmented the dynamic masks; null if none did"),
    )
    dynamic_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialAnnotation(AnnotationValues):
    """Spatial annotation of a clip: its values, and its files in the store.

    Attributes:
      poses, intrinsics, frames, times: .npy files: (n, 7) cam_from_world [tx ty tz qx qy qz qw], NaN in frames without
        a pose; (n, 4) fx fy cx cy in pixels of the clip; (n, 2) ordinal and frame index in the clip; (n,) seconds
        since the clip's first frame, by timestamps.
      depth, masks: .npz files of depth maps and dynamic masks; None without.
      dense_poses: .npy file of (m, 7) cam_from_world, one for each frame of the clip; None unless wanted.
    """

    poses: Ref
    intrinsics: Ref
    frames: Ref
    times: Ref
    depth: Ref | None
    masks: Ref | None
    dense_poses: Ref | None

    @property
    def pose_scale(self) -> str:
        """Scale of the poses: relative; `meters_per_unit` is the metric scale where known."""
        return "relative"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryMetrics:
    """Metrics of a camera trajectory; None where undefined, with the reason in `missing`.

    Attributes:
      missing: field name to reason, for each field that is None.
    """

    move_dist: float | None = field(
        metadata=column(
            "length of the camera's path",
            unit="units in which the 98th percentile of inverse depth is 2",
            title="Length of the path",
        )
    )
    dist_level: int | None = field(
        metadata=column("how many of 0.08, 0.28, 0.92, 2.41 move_dist reaches", range=(0, 4))
    )
    rot_angle: float | None = field(
        metadata=column("sum of the rotations between neighboring poses", unit="radians", title="Rotation")
    )
    traj_turns: int | None = field(metadata=column("turns of the camera's path", title="Turns of the path"))
    dynamic_ratio: float | None = field(
        # The record has the geometry's, too, of clips whose trajectory is not measured.
        metadata=column("mean share of moving pixels", range=SHARE, title="Moving pixels", path="dynamic_ratio")
    )
    anomaly: bool | None = field(
        metadata=column("whether two poses in a row are far off their prediction from the three before")
    )
    translation_jerk: float | None = field(
        metadata=column("root mean square of the third derivative of the camera center", unit="units per second cubed")
    )
    rotation_jerk: float | None = field(
        metadata=column(
            "root mean square of the second derivative of the angular velocity", unit="radians per second cubed"
        )
    )
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMotion:
    """Camera motion of a clip, in words and numbers.

    Attributes:
      instructions: JSON file of motion words by runs of annotated frames.
    """

    instructions: Ref
    motion_sentence: str | None = field(metadata=column("the camera's motion in one line"))
    trajectory: TrajectoryMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Caption and tags of a clip.

    A text without known content is None; such a tag is "Unknown".

    Attributes:
      file: JSON file with the texts and tags, in the layout that the settings name.
    """

    file: Ref
    scene_summary: str | None = field(metadata=column("the scene in one sentence; null where nothing is known to say"))
    scene_description: str | None = field(metadata=column("what is visible"))
    camera_motion_caption: str | None = field(metadata=column("the camera's motion in words"))
    shot_immersion: str | None = field(metadata=column("camera and scene together, as prose"))
    motion_trends: tuple[str, ...] = field(metadata=column("the camera's main movements, free words"))
    motion_tags: tuple[str, ...] = field(
        metadata=column("forward, backward, left, right, up, down or stationary; empty without poses")
    )
    keywords: tuple[str, ...] = field(metadata=column("what is visible, in nouns"))
    scene_type: str = field(
        metadata=column("Urban, Natural Landscape, Interior, Rural, Waterfront or Unknown", title="Scene type")
    )
    scene_subtype: str = field(metadata=column("kind of scene in free words, or Unknown", title="Kind of scene"))
    brightness: str = field(metadata=column("Bright, Dim/Dark or Unknown", title="Brightness"))
    time_of_day: str = field(
        metadata=column("Dawn/Morning, Daytime, Dusk/Evening, Night or Unknown", title="Time of day")
    )
    weather: str = field(metadata=column("Sunny, Rainy, Foggy, Cloudy, Snowy or Unknown", title="Weather"))
    crowd_density: str = field(metadata=column("Deserted, Sparse, Moderate, Crowded or Unknown", title="Crowd density"))
    odd_tags: tuple[str, ...] = field(
        default=(), metadata=column("<tag>=<raw value> where the raw value was not one of the vocabulary")
    )
    model: str = field(metadata=column("what wrote the caption; of several models all", name="caption_model"))
    prompts: str | None = field(
        metadata=column("version and digest of the prompts; null where no model was asked", name="caption_prompts")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionUsage:
    """Model usage for a clip's caption, also of a failed one."""

    requests: int = field(metadata=column("requests sent for the caption, also where it failed"))
    input_tokens: int | None = field(metadata=column("tokens sent, as the server counts them"))
    output_tokens: int | None = field(metadata=column("tokens received, as the server counts them"))
    cost_usd: float | None = field(
        metadata=column("by the prices in the settings; null without prices or counts", unit="US dollars")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredWindow:
    """A window of a long video whose frames have been measured.

    Attributes:
      frames: file of what each frame yields; None if the window is unfit.
      num_lead: frames before the window's start, which come first in the file; what windows are joined by.
      first_pts: timestamp of the first frame in the file; None if there is none.
      next_pts: timestamp of the first frame behind the window; None at the end of the video.
      unfit: why the window cannot be used, or None.
    """

    frames: Ref | None = None
    num_lead: int = 0
    first_pts: int | None = None
    next_pts: int | None = None
    unfit: str | None = None
