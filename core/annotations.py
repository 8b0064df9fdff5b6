"""What the stages find out about videos and clips: values that records carry, small or a `Ref` to a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.references import Ref
from core.time import FrameSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One detected shot and the boundary that opens it.

    Attributes:
      start_frame, end_frame: `[start, end)` in display indices.
      start_s, end_s: the same in seconds of the video's timeline.
      boundary_kind: how the shot begins: "start" of the video, "cut", "dissolve", ...
      boundary_start_frame: first frame that the transition touches (equal to `start_frame` for a cut).
      boundary_confidence: 0 to 1; None where no detector decided (start of the video).
      luminance_mean, motion_mean, motion_normalized_mean: over all frames of the shot; see `ClipScores`.
    """

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    boundary_kind: str
    boundary_start_frame: int
    boundary_confidence: float | None
    luminance_mean: float
    motion_mean: float
    motion_normalized_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleImage:
    """A picture taken from a clip for the scorers: frame index in the source, time, JPEG in the store."""

    frame: int
    time_s: float
    image: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """Cheap scores that the analysis pass yields for a clip.

    Attributes:
      luminance_score, luminance_min, luminance_max: mean, least and largest of the sample images' mean
        luminance (0.2126 R + 0.7152 G + 0.0722 B on gamma-coded values, 0 to 255).
      luminance_all_mean, luminance_all_min, luminance_all_max: the same over every frame of the clip.
      motion_score: mean of libvmaf's `integer_motion2` over the clip's frames, 8-bit luma units a frame.
      motion_normalized: mean absolute change of the 64x36 luma thumbnail in 0.1 s, 8-bit luma units:
        comparable across resolutions and frame rates.
    """

    luminance_score: float
    luminance_min: float
    luminance_max: float
    luminance_all_mean: float
    luminance_all_min: float
    luminance_all_max: float
    motion_score: float
    motion_normalized: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipCandidate:
    """A clip that the analysis found: its interval, upright size in pixels, shot, samples and cheap scores."""

    span: FrameSpan
    width: int
    height: int
    shot_index: int
    samples: tuple[SampleImage, ...]
    scores: ClipScores


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoAnalysis:
    """All that the one decode of a video yields.

    Attributes:
      num_frames: decoded frames.
      duration_s: from the first frame to the end of the last one.
      decode_errors: packets that could not be decoded; `first_decode_error` says what the first was.
      damaged_frames: frames that the decoder gave out with concealed damage.
      timestamp_repairs: frames whose timestamp had to be inferred or corrected.
      luminance_mean, motion_mean: means over all frames of the video.
      shots, clips: in order of time.
    """

    num_frames: int
    duration_s: float
    decode_errors: int
    first_decode_error: str | None
    damaged_frames: int
    timestamp_repairs: int
    luminance_mean: float
    motion_mean: float
    shots: tuple[Shot, ...]
    clips: tuple[ClipCandidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedClip:
    """The cut clip: its bytes in the store and what was measured on them; `is_copy` if they are the source's own."""

    video: Ref
    codec: str
    pixel_format: str
    width: int
    height: int
    num_frames: int
    duration_s: float
    fps: float
    is_copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedCamera:
    """What a network's tracking found of a clip.

    Attributes:
      file: .npz of poses, intrinsics, depth and what stands still, of the annotated frames.
      model: id and digest of the network.
    """

    file: Ref
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoDepth:
    """Depth that networks see in a clip's annotated frames.

    Attributes:
      file: .npz of `relative` and `metric` (n, h, w) float16 maps (inverse depth up to scale and shift; meters, 0 where
        unknown), where the network ran, `<kind>_focal_px` (n,) in pixels of the maps, and `frame` (n,) indices in the
        clip.
      relative_model, metric_model: id and digest of the networks; None where none ran.
    """

    file: Ref
    relative_model: str | None
    metric_model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialAnnotation:
    """Spatial annotation of a clip: its files in the store, and how good it is.

    Attributes:
      poses, intrinsics, frames, times: .npy files: (n, 7) cam_from_world [tx ty tz qx qy qz qw], NaN where a frame
        has none; (n, 4) fx fy cx cy in pixels of the clip; (n, 2) ordinal and frame index in the clip; (n,) seconds
        since the clip's first frame, by timestamps.
      depth, masks: .npz files of depth maps and dynamic masks, where there are any.
      dense_poses: .npy file of (m, 7) cam_from_world, one for each frame of the clip, where wanted.
      dense_refined_share: share of the frames between annotated ones whose pose points confirm.
      num_frames: annotated frames.
      pose_ok: whether the poses are fit for use.
      pose_reason: why they are not; or, where they are, why a part of a long clip has none.
      motion_kind: general, rotation (the camera only turns) or static.
      registered_share: share of the annotated frames that have a pose.
      reprojection_px: root mean square distance of points from where they were seen, at the annotated size.
      num_points: points of the sparse map.
      scene_depth: median depth of the scene's points, in the poses' unit.
      depth_valid_share, moving_share: mean share of pixels with a valid depth, and of moving ones.
      depth_reason, masks_reason: why there is no such file.
      tracked_share: mean share of pixels that flow finds again in the next annotated frame.
      focal_sigma: standard deviation of the focal length as a share of it.
      depth_error: mean relative error of depth from an annotated frame to the next.
      num_windows: windows that the poses are joined from.
      scale_drift: largest relative change of the scale between two windows over the frames that they share.
      join_offset: largest distance of two windows' camera centers there (root mean square), in typical depths.
      meters_per_unit: unit of poses and depth in meters; None where nothing says.
      masks_model: id and digest of the network that outlined the masks; None where none did.
    """

    poses: Ref
    intrinsics: Ref
    frames: Ref
    times: Ref
    depth: Ref | None
    masks: Ref | None
    dense_poses: Ref | None
    dense_refined_share: float | None
    num_frames: int
    pose_ok: bool
    pose_reason: str | None
    motion_kind: str
    registered_share: float
    reprojection_px: float | None
    num_points: int
    scene_depth: float | None
    depth_valid_share: float | None
    moving_share: float | None
    depth_reason: str | None
    masks_reason: str | None
    tracked_share: float | None
    focal_sigma: float | None
    depth_error: float | None
    num_windows: int
    scale_drift: float | None
    join_offset: float | None
    meters_per_unit: float | None = None
    masks_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryMetrics:
    """Metrics of a camera path. A field is None where it has no meaning; `missing` then says why.

    "Unit" is the length in which the 98th percentile of the clip's inverse depth is 2, as in SpatialVID's tables.

    Attributes:
      move_dist: length of the path of the camera center, units.
      dist_level: 0 to 4, how many of 0.08, 0.28, 0.92, 2.41 units `move_dist` reaches.
      rot_angle: sum of the rotations between neighboring poses, radians.
      traj_turns: number of turns of the path.
      dynamic_ratio: mean share of moving pixels, 0 to 1.
      anomaly: whether two poses in a row are over 0.03 units off their prediction from the three before
        (over as much more as steps are wider than 0.2 s, squared).
      translation_jerk: root mean square of the third derivative of the camera center, units per second cubed.
      rotation_jerk: root mean square of the second derivative of the angular velocity, radians per second cubed.
      missing: field name to reason, for each field that is None.
    """

    move_dist: float | None
    dist_level: int | None
    rot_angle: float | None
    traj_turns: int | None
    dynamic_ratio: float | None
    anomaly: bool | None
    translation_jerk: float | None
    rotation_jerk: float | None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMotion:
    """What the poses of a clip say in words and numbers.

    Attributes:
      instructions: JSON file of motion words by stretches of annotated frames.
      motion_sentence: one line on the camera's motion; None under parity.
      trajectory: metrics of the camera's path.
    """

    instructions: Ref
    motion_sentence: str | None
    trajectory: TrajectoryMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Caption and tags of a clip. A text is None where nothing is known to say; a tag is then "Unknown".

    Attributes:
      file: JSON file with the texts and tags, in the layout that the settings name.
      model: what wrote it; of several models all, in the order of the steps.
      prompts: version and digest of the prompts; None where no model was asked.
      scene_summary, scene_description, camera_motion, shot_immersion: texts as SpatialVID publishes them.
      motion_trends: the main movements of the camera, in words.
      motion_tags: forward, backward, left, right, up, down or stationary, from the poses; empty without poses.
      keywords: what is to be seen.
      scene_type, brightness, time_of_day, weather, crowd_density: of the closed vocabularies.
      scene_subtype: free words.
      odd_tags: `<tag>=<raw value>` where the raw value was not one of the vocabulary.
    """

    file: Ref
    model: str
    prompts: str | None
    scene_summary: str | None
    scene_description: str | None
    camera_motion: str | None
    shot_immersion: str | None
    motion_trends: tuple[str, ...]
    motion_tags: tuple[str, ...]
    keywords: tuple[str, ...]
    scene_type: str
    scene_subtype: str
    brightness: str
    time_of_day: str
    weather: str
    crowd_density: str
    odd_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionUsage:
    """What was asked of models for a clip's caption, also where it failed.

    Attributes:
      requests: requests sent.
      input_tokens, output_tokens: as the server counts them; None where it does not say.
      cost_usd: by the prices in the settings; None without prices or counts.
    """

    requests: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


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
