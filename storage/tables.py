"""The tables of a finished run: columns with types and meanings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

CONVENTIONS = {
    "time": "Presentation timestamps: seconds = pts * time_base, from the container's origin. Intervals are "
    "[start, end). Frame numbers are 0-based display indices, for constant and variable frame rates.",
    "size": "width and height are those of the upright picture (rotation applied), in source pixels.",
    "luminance": "0.2126 R + 0.7152 G + 0.0722 B on gamma-coded values, 0 to 255.",
    "motion": "motion_score is the mean of libvmaf's integer_motion2 over the clip's frames at native size, "
    "in 8-bit luma units a frame; motion_normalized is the mean absolute change of the 64x36 luma thumbnail "
    "in 0.1 s, comparable across resolutions and frame rates.",
    "cameras": "Axes x right, y down, z forward; pixel centers at integers. poses.npy holds cam_from_world "
    "[tx ty tz qx qy qz qw], which maps world to camera coordinates; the world is the first annotated camera that has "
    "a pose. Frames without one are NaN. Scale is relative: the 98th percentile of the scene's inverse depth is 2. "
    "intrinsics.npy holds fx fy cx cy in pixels of the clip. frames.npy says which frame of the clip each row belongs "
    "to (ordinal, frame index), times.npy when it is: seconds since the clip's first frame. poses_dense.npy, where "
    "there is one, has a row for each frame of the clip, by frame index, in the same world and unit; NaN before the "
    "first and behind the last annotated frame of the part with poses.",
    "depth": "depth.npz holds z-depth (not ray length) in the poses' unit, 0 where valid is false; sigma_permille is "
    "its standard deviation in thousandths of it (at most 254; 255 where not valid); map_from_clip "
    "[sx sy ox oy] takes a clip pixel to map coordinates. Dynamic masks: true = moving; an empty one of a frame "
    "without a pose may mean that nothing is known. Frames without a pose have no depth.",
    "missing": "A value that could not be computed is null, never a number; a reason column says why.",
    "status": "kept, rejected (see rejection_reasons) or failed (see failure_class). "
    "Clips found = kept + rejected + failed.",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: name, Arrow type and what it means (with its unit)."""

    name: str
    type: pa.DataType
    meaning: str


def _columns(*rows: tuple[str, pa.DataType, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TEXTS, INTS = pa.list_(pa.string()), pa.list_(pa.int64())

ANNOTATION_COLUMNS = _columns(
    ("num_annotated_frames", INT, "frames with annotation; the shard's frames.npy maps them to the clip's frames"),
    ("pose_ok", FLAG, "whether the camera poses are fit for use"),
    ("pose_reason", TEXT, "why they are not; or, where they are, why a part of a long clip has none"),
    ("camera_motion_kind", TEXT, "general, rotation (the camera only turns) or static"),
    ("pose_registered_share", REAL, "share of the annotated frames that have a pose, 0 to 1"),
    ("pose_reprojection_px", REAL, "root mean square distance of points from where they were seen, annotated pixels"),
    ("pose_num_points", INT, "points of the sparse map"),
    (
        "pose_dense_refined_share",
        REAL,
        "share of the frames between annotated ones whose pose in poses_dense.npy is confirmed by followed points, not "
        "interpolated alone; null without that file",
    ),
    ("pose_scale", TEXT, "metric or relative: unit of translations and depth"),
    ("meters_per_unit", REAL, "the unit of poses and depth in meters, from a metric depth network; null without"),
    ("scene_depth", REAL, "median depth of the scene's points, in the poses' unit"),
    (
        "pose_tracked_share",
        REAL,
        "mean share of pixels that flow finds again in the next annotated frame, 0 to 1",
    ),
    (
        "pose_focal_sigma",
        REAL,
        "standard deviation of the focal length as a share of it, by the adjustment's curvature; null where it was "
        "not estimated",
    ),
    ("pose_model", TEXT, "id and digest of the network that tracked the camera; null if none did"),
    ("depth_relative_model", TEXT, "id and digest of the network for relative depth; null if none ran"),
    ("depth_metric_model", TEXT, "id and digest of the network for metric depth; null if none ran"),
    ("pose_num_windows", INT, "windows that the poses are joined from; longer clips need several"),
    (
        "pose_scale_drift",
        REAL,
        "largest relative change of scale between two windows over the frames that they share; null for one window",
    ),
    (
        "pose_join_offset",
        REAL,
        "largest root mean square distance of two windows' cameras there, in scene depths; null for one window",
    ),
    ("depth_valid_share", REAL, "share of pixels with a valid depth, 0 to 1"),
    (
        "depth_reprojection_error",
        REAL,
        "relative difference of depth moved to the next annotated frame and found there: median of pixels, mean of "
        "frames",
    ),
    ("depth_reason", TEXT, "why there is no depth"),
    ("masks_reason", TEXT, "why there are no dynamic masks"),
    ("masks_model", TEXT, "id and digest of the network that outlined the dynamic masks; null if none did"),
    (
        "move_dist",
        REAL,
        "length of the camera's path; unit: the 98th percentile of inverse depth is 2",
    ),
    ("dist_level", INT, "0 to 4: how many of 0.08, 0.28, 0.92, 2.41 move_dist reaches"),
    ("rot_angle", REAL, "sum of the camera's rotations, radians"),
    ("traj_turns", INT, "turns of the camera's path"),
    ("dynamic_ratio", REAL, "mean share of moving pixels, 0 to 1"),
    ("anomaly", FLAG, "whether the path jumps"),
    ("translation_jerk", REAL, "root mean square third derivative of the camera center, units per second cubed"),
    ("rotation_jerk", REAL, "root mean square second derivative of the angular velocity, radians per second cubed"),
    ("motion_sentence", TEXT, "the camera's motion in one line"),
)

CAPTION_COLUMNS = _columns(
    ("scene_summary", TEXT, "the scene in one sentence; null where nothing is known to say"),
    ("scene_description", TEXT, "what is to be seen"),
    ("camera_motion_caption", TEXT, "the camera's motion in words"),
    ("shot_immersion", TEXT, "camera and scene together, as prose"),
    ("motion_trends", TEXTS, "the camera's main movements, free words"),
    ("motion_tags", TEXTS, "forward, backward, left, right, up, down or stationary; empty without poses"),
    ("keywords", TEXTS, "what is to be seen, in nouns"),
    ("scene_type", TEXT, "Urban, Natural Landscape, Interior, Rural, Waterfront or Unknown"),
    ("scene_subtype", TEXT, "kind of scene in free words, or Unknown"),
    ("brightness", TEXT, "Bright, Dim/Dark or Unknown"),
    ("time_of_day", TEXT, "Dawn/Morning, Daytime, Dusk/Evening, Night or Unknown"),
    ("weather", TEXT, "Sunny, Rainy, Foggy, Cloudy, Snowy or Unknown"),
    ("crowd_density", TEXT, "Deserted, Sparse, Moderate, Crowded or Unknown"),
    ("odd_tags", TEXTS, "<tag>=<raw value> where the raw value was not one of the vocabulary"),
    ("caption_model", TEXT, "what wrote the caption"),
    ("caption_prompts", TEXT, "version and digest of the prompts"),
    ("caption_reason", TEXT, "why a kept clip has no caption"),
    ("caption_requests", INT, "requests sent for the caption, also where it failed"),
    ("caption_input_tokens", INT, "tokens sent, as the server counts them"),
    ("caption_output_tokens", INT, "tokens received, as the server counts them"),
    ("caption_cost_usd", REAL, "by the prices in the settings; null without prices or counts"),
)

CAPTION_LISTS = tuple(c.name for c in CAPTION_COLUMNS if c.type == TEXTS)

CLIP_COLUMNS = _columns(
    ("clip_id", TEXT, "<video_id>_<5-digit index>"),
    ("video_id", TEXT, "id of the source video"),
    ("source_uri", TEXT, "where the source video was read"),
    ("status", TEXT, "kept, rejected or failed"),
    ("rejection_reasons", TEXTS, "every limit that the clip misses"),
    ("unchecked_limits", TEXTS, "limits that could not be checked, since their column is null"),
    ("shard", TEXT, "tar that holds the clip's files; null unless kept"),
    ("video_path", TEXT, "name of the clip's video inside the shard; null unless kept"),
    ("num_frames", INT, "frames of the source interval"),
    ("fps", REAL, "mean frame rate of the source interval"),
    ("width", INT, "width of the upright source picture, pixels"),
    ("height", INT, "height of the upright source picture, pixels"),
    ("resolution", TEXT, "<width>x<height>"),
    ("aspect_ratio", REAL, "width / height in pixels"),
    ("start_frame", INT, "first frame of the interval, display index in the source"),
    ("end_frame", INT, "frame after the interval"),
    ("start_pts", INT, "timestamp of the first frame, in time base units"),
    ("end_pts", INT, "timestamp of the end, in time base units"),
    ("time_base_num", INT, "numerator of the time base in seconds"),
    ("time_base_den", INT, "denominator of the time base in seconds"),
    ("start_s", REAL, "start in seconds"),
    ("end_s", REAL, "end in seconds"),
    ("duration_s", REAL, "duration in seconds"),
    ("shot_index", INT, "shot of the source video that the clip lies in"),
    ("shot_boundary_kind", TEXT, "how that shot begins: start, cut, dissolve, fade_in, fade_out, ..."),
    ("shot_boundary_confidence", REAL, "0 to 1; null at the start of the video"),
    ("sample_frames", INTS, "source frames that the image scorers looked at"),
    ("sample_images", TEXTS, "their JPEGs, as paths below the output folder"),
    ("luminance_score", REAL, "mean luminance of the sample images, 0 to 255"),
    ("luminance_min", REAL, "least mean luminance of a sample image"),
    ("luminance_max", REAL, "largest mean luminance of a sample image"),
    ("luminance_all_mean", REAL, "mean luminance over every frame"),
    ("luminance_all_min", REAL, "least mean luminance of a frame"),
    ("luminance_all_max", REAL, "largest mean luminance of a frame"),
    ("motion_score", REAL, "mean VMAF motion (integer_motion2) at native size"),
    ("motion_normalized", REAL, "thumbnail change in 0.1 s, comparable across sizes and rates"),
    ("duplicate_group", TEXT, "id of the clip that stands for this one and its near-duplicates; null without any"),
    ("ocr_score", REAL, "share of the picture under text, worst sample image, 0 to 1"),
    ("ocr_reason", TEXT, "why there is no ocr_score"),
    ("ocr_model", TEXT, "model and digest behind ocr_score"),
    ("aesthetic_score", REAL, "LAION aesthetic score, mean of the sample images, about 0 to 10"),
    ("aesthetic_reason", TEXT, "why there is no aesthetic_score"),
    ("aesthetic_model", TEXT, "model and digest behind aesthetic_score"),
    ("clip_codec", TEXT, "codec of the cut clip"),
    ("clip_pixel_format", TEXT, "pixel format of the cut clip"),
    ("clip_width", INT, "width of the cut clip, pixels"),
    ("clip_height", INT, "height of the cut clip, pixels"),
    ("clip_num_frames", INT, "frames of the cut clip"),
    ("clip_duration_s", REAL, "duration of the cut clip in seconds"),
    ("clip_fps", REAL, "mean frame rate of the cut clip"),
    ("clip_size_bytes", INT, "size of the cut clip"),
    ("clip_is_copy", FLAG, "whether the cut clip is the source file itself, byte for byte"),
    ("clip_sha256_128", TEXT, "first 128 bits of the SHA-256 of the cut clip"),
    *((c.name, c.type, c.meaning) for c in (*ANNOTATION_COLUMNS, *CAPTION_COLUMNS)),
    ("source_codec", TEXT, "codec of the source"),
    ("source_bit_depth", INT, "bits per sample of the source"),
    ("is_variable_frame_rate", FLAG, "whether the source's frame times are irregular"),
    ("is_hdr", FLAG, "whether the source is tagged PQ or HLG"),
    ("failure_stage", TEXT, "stage that gave up on the clip"),
    ("failure_class", TEXT, "class of the failure"),
    ("failure_message", TEXT, "cause and remedy"),
)

VIDEO_COLUMNS = _columns(
    ("video_id", TEXT, "stable id: the manifest's own, or a hash of the URI"),
    ("source_uri", TEXT, "where the video was read"),
    ("status", TEXT, "done or failed"),
    ("fingerprint", TEXT, "identity of the content: size and modification time or etag"),
    ("container", TEXT, "container format"),
    ("codec", TEXT, "video codec"),
    ("pixel_format", TEXT, "pixel format"),
    ("bit_depth", INT, "bits per sample"),
    ("width", INT, "width of the upright picture, pixels"),
    ("height", INT, "height of the upright picture, pixels"),
    ("rotation_deg", INT, "clockwise rotation that makes the picture upright"),
    ("sample_aspect_ratio", REAL, "pixel aspect ratio"),
    ("fps", REAL, "mean frame rate"),
    ("is_variable_frame_rate", FLAG, "whether frame times are irregular"),
    ("is_interlaced", FLAG, "whether the stream is interlaced"),
    ("color_range", TEXT, "limited or full"),
    ("color_matrix", TEXT, "matrix coefficients"),
    ("color_primaries", TEXT, "color primaries"),
    ("color_transfer", TEXT, "transfer characteristics"),
    ("is_hdr", FLAG, "whether tagged PQ or HLG"),
    ("has_audio", FLAG, "whether there is an audio stream"),
    ("size_bytes", INT, "size of the file"),
    ("num_frames", INT, "frames that decoded"),
    ("duration_s", REAL, "from the first frame to the end of the last"),
    ("decode_errors", INT, "packets that did not decode"),
    ("first_decode_error", TEXT, "what the first of them was"),
    ("damaged_frames", INT, "frames that decoded with concealed damage"),
    ("timestamp_repairs", INT, "frames whose timestamp had to be inferred or corrected"),
    ("num_shots", INT, "detected shots"),
    ("num_clips", INT, "candidate clips"),
    ("luminance_mean", REAL, "mean luminance over all frames, 0 to 255"),
    ("motion_mean", REAL, "mean VMAF motion over all frames"),
    ("failure_stage", TEXT, "stage that gave up on the video"),
    ("failure_class", TEXT, "class of the failure"),
    ("failure_message", TEXT, "cause and remedy"),
)

SHOT_COLUMNS = _columns(
    ("video_id", TEXT, "id of the video"),
    ("source_uri", TEXT, "where the video was read"),
    ("shot_index", INT, "0-based, in order of time"),
    ("start_frame", INT, "first frame"),
    ("end_frame", INT, "frame after the last one"),
    ("start_s", REAL, "start in seconds"),
    ("end_s", REAL, "end in seconds"),
    ("boundary_kind", TEXT, "how the shot begins"),
    ("boundary_start_frame", INT, "first frame that the transition touches"),
    ("boundary_confidence", REAL, "0 to 1; null where no detector decided"),
    ("luminance_mean", REAL, "mean luminance over all frames of the shot, 0 to 255"),
    ("motion_mean", REAL, "mean VMAF motion over all frames of the shot"),
    ("motion_normalized_mean", REAL, "mean motion_normalized over all frames of the shot"),
)

FAILURE_COLUMNS = _columns(
    ("item", TEXT, "input (listed but not processed), video or clip"),
    ("key", TEXT, "id of the item"),
    ("source_uri", TEXT, "where its video was read"),
    ("stage", TEXT, "stage that gave up"),
    ("error_class", TEXT, "class of the failure"),
    ("message", TEXT, "cause and remedy"),
    ("is_bug", FLAG, "whether the program, not the input, is to blame"),
    ("attempts", INT, "how often it was tried"),
)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table of the run.

    Attributes:
      name: folder is `<name>.parquet`.
      sort_key: columns that order the rows.
      extra_types: further manifest columns, by name.
    """

    name: str
    columns: tuple[Column, ...]
    sort_key: tuple[str, ...]
    extra_types: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of all columns in order, those of the manifest last."""
        return [*(c.name for c in self.columns), *(name for name, _ in self.extra_types)]

    def schema(self) -> pa.Schema:
        """Arrow schema with the meaning of each column and the run's conventions as metadata."""
        fields = [pa.field(c.name, c.type, metadata={"meaning": c.meaning}) for c in self.columns]
        types = {"string": TEXT, "int64": INT, "double": REAL, "bool": FLAG}
        fields += [
            pa.field(name, types[kind], metadata={"meaning": "column of the manifest"})
            for name, kind in self.extra_types
        ]
        return pa.schema(fields, metadata={"conventions": json.dumps(CONVENTIONS, sort_keys=True)})


def table_specs(extra_types: Mapping[str, str]) -> dict[str, TableSpec]:
    """All tables of a run by name.

    Args:
      extra_types: carried manifest columns: name to "string", "int64", "double" or "bool".
    """
    extra = tuple(sorted(extra_types.items()))
    specs = (
        TableSpec("clips", CLIP_COLUMNS, ("clip_id",), extra),
        TableSpec("videos", VIDEO_COLUMNS, ("video_id",), extra),
        TableSpec("shots", SHOT_COLUMNS, ("video_id", "shot_index")),
        TableSpec("failures", FAILURE_COLUMNS, ("item", "key", "source_uri", "stage")),
    )
    return {spec.name: spec for spec in specs}


RESERVED_COLUMNS = frozenset(c.name for c in (*CLIP_COLUMNS, *VIDEO_COLUMNS))
NUMERIC_CLIP_COLUMNS = frozenset(
    c.name
    for c in CLIP_COLUMNS
    # What a caption says or costs is known only after the decision.
    if (pa.types.is_floating(c.type) or pa.types.is_integer(c.type) or c.type == FLAG) and c not in CAPTION_COLUMNS
)
LATE_CLIP_COLUMNS = frozenset(
    c.name for c in CLIP_COLUMNS if c in ANNOTATION_COLUMNS or (c.name.startswith("clip_") and c.name != "clip_id")
)
"""Columns of the cut clip and of its annotation: known only for clips that the other columns let pass."""
