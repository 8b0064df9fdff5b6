"""How records become rows of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.annotations import Shot, VideoAnalysis
from core.failures import Failure
from core.records import NOT_SCORED_REASON, ClipRecord, ClipStatus, FailureRecord, Scalar, VideoRecord
from storage.tables import CAPTION_LISTS, CLIP_COLUMNS, VIDEO_COLUMNS, Column

Row = dict[str, Any]


def clip_row(clip: ClipRecord, shard: str | None = None) -> Row:
    """The clip table's row of a record; `shard` is the tar that holds a kept clip."""
    span, info, scores, encoded, failure = clip.span, clip.info, clip.scores, clip.encoded, clip.failure
    row: Row = {
        "clip_id": clip.clip_id,
        "video_id": clip.video_id,
        "source_uri": clip.source_uri,
        "status": clip.status.value,
        "rejection_reasons": list(clip.rejection_reasons),
        "unchecked_limits": list(clip.unchecked_limits),
        "shard": shard,
        "video_path": f"{clip.clip_id}.mp4" if shard else None,
        "num_frames": span.num_frames,
        "fps": float(span.fps),
        "width": clip.width,
        "height": clip.height,
        "resolution": f"{clip.width}x{clip.height}",
        "aspect_ratio": clip.width / clip.height,
        "start_frame": span.start_frame,
        "end_frame": span.end_frame,
        "start_pts": span.start_pts,
        "end_pts": span.end_pts,
        "time_base_num": span.time_base.numerator,
        "time_base_den": span.time_base.denominator,
        "start_s": float(span.start_s),
        "end_s": float(span.end_s),
        "duration_s": float(span.duration_s),
        "shot_index": clip.shot_index,
        "shot_boundary_kind": clip.shot.boundary_kind,
        "shot_boundary_confidence": clip.shot.boundary_confidence,
        "sample_frames": [s.frame for s in clip.samples],
        "sample_images": [f"store/{s.image.path}" for s in clip.samples],
        "duplicate_group": clip.duplicate_group,
        "ocr_score": clip.ocr_score,
        "ocr_reason": _reason(clip, clip.ocr_score, clip.ocr_reason),
        "ocr_model": clip.ocr_model,
        "aesthetic_score": clip.aesthetic_score,
        "aesthetic_reason": _reason(clip, clip.aesthetic_score, clip.aesthetic_reason),
        "aesthetic_model": clip.aesthetic_model,
        "source_codec": info.codec,
        "source_bit_depth": info.bit_depth,
        "is_variable_frame_rate": info.is_variable_frame_rate,
        "is_hdr": info.is_hdr,
    }
    row |= {name: getattr(scores, name) for name in scores.__dataclass_fields__}
    if encoded:
        row |= {
            "clip_codec": encoded.codec,
            "clip_pixel_format": encoded.pixel_format,
            "clip_width": encoded.width,
            "clip_height": encoded.height,
            "clip_num_frames": encoded.num_frames,
            "clip_duration_s": encoded.duration_s,
            "clip_fps": encoded.fps,
            "clip_size_bytes": encoded.video.size_bytes,
            "clip_is_copy": encoded.is_copy,
            "clip_sha256_128": encoded.video.digest,
        }
    row |= _annotation_values(clip) | _caption_values(clip)
    row |= _failure_values(failure)
    return _with_extra(row, CLIP_COLUMNS, clip.extra)


def _annotation_values(clip: ClipRecord) -> Row:
    geometry, motion = clip.geometry, clip.camera_motion
    row: Row = {}
    if geometry:
        row |= {
            "num_annotated_frames": geometry.num_frames,
            "pose_ok": geometry.pose_ok,
            "pose_reason": geometry.pose_reason,
            "camera_motion_kind": geometry.motion_kind,
            "pose_registered_share": geometry.registered_share,
            "pose_reprojection_px": geometry.reprojection_px,
            "pose_num_points": geometry.num_points,
            "pose_dense_refined_share": geometry.dense_refined_share,
            "pose_scale": "relative",
            "meters_per_unit": geometry.meters_per_unit,
            "scene_depth": geometry.scene_depth,
            "pose_tracked_share": geometry.tracked_share,
            "pose_focal_sigma": geometry.focal_sigma,
            "pose_num_windows": geometry.num_windows,
            "pose_scale_drift": geometry.scale_drift,
            "pose_join_offset": geometry.join_offset,
            "depth_valid_share": geometry.depth_valid_share,
            "depth_reprojection_error": geometry.depth_error,
            "depth_reason": geometry.depth_reason,
            "masks_reason": geometry.masks_reason,
            "masks_model": geometry.masks_model,
            "dynamic_ratio": geometry.moving_share,
        }
    if clip.tracked:
        row["pose_model"] = clip.tracked.model
    if clip.mono_depth:
        row["depth_relative_model"] = clip.mono_depth.relative_model
        row["depth_metric_model"] = clip.mono_depth.metric_model
    if motion:
        facts = motion.trajectory
        row |= {name: getattr(facts, name) for name in facts.__dataclass_fields__ if name != "missing"}
        row["motion_sentence"] = motion.motion_sentence
    return row


def _caption_values(clip: ClipRecord) -> Row:
    caption, usage = clip.caption, clip.caption_usage
    row: Row = {"caption_reason": clip.caption_reason}
    if caption:
        names = set(caption.__dataclass_fields__) - {"file", "model", "prompts", "camera_motion"}
        row |= {name: getattr(caption, name) for name in names}
        row |= {name: list(getattr(caption, name)) for name in CAPTION_LISTS}
        row |= {
            "camera_motion_caption": caption.camera_motion,
            "caption_model": caption.model,
            "caption_prompts": caption.prompts,
        }
    if usage:
        row |= {f"caption_{name}": getattr(usage, name) for name in usage.__dataclass_fields__}
    return row


def _failure_values(failure: Failure | None) -> Row:
    if failure is None:
        return {}
    return {
        "failure_stage": failure.stage,
        "failure_class": failure.error_class,
        "failure_message": failure.message,
    }


def _reason(clip: ClipRecord, score: float | None, reason: str | None) -> str | None:
    """Why a score is missing, for clips that the model never saw too."""
    if score is None and reason is None and clip.status is ClipStatus.REJECTED:
        return NOT_SCORED_REASON
    return reason


def video_row(video: VideoRecord, analysis: VideoAnalysis | None) -> Row:
    """The video table's row of a record; `analysis` is None for a failed video."""
    info, failure = video.info, video.failure
    row: Row = {
        "video_id": video.video_id,
        "source_uri": video.source_uri,
        "status": "failed" if failure else "done",
        "fingerprint": video.fingerprint,
    }
    if info:
        row |= {
            "container": info.container,
            "codec": info.codec,
            "pixel_format": info.pixel_format,
            "bit_depth": info.bit_depth,
            "width": info.display_width,
            "height": info.display_height,
            "rotation_deg": info.rotation_deg,
            "sample_aspect_ratio": float(info.sample_aspect_ratio),
            "fps": float(info.average_fps) if info.average_fps else None,
            "is_variable_frame_rate": info.is_variable_frame_rate,
            "is_interlaced": info.is_interlaced,
            "color_range": info.color_range,
            "color_matrix": info.color_matrix,
            "color_primaries": info.color_primaries,
            "color_transfer": info.color_transfer,
            "is_hdr": info.is_hdr,
            "has_audio": info.has_audio,
            "size_bytes": info.size_bytes,
        }
    if analysis:
        row |= {
            "num_frames": analysis.num_frames,
            "duration_s": analysis.duration_s,
            "decode_errors": analysis.decode_errors,
            "first_decode_error": analysis.first_decode_error,
            "damaged_frames": analysis.damaged_frames,
            "timestamp_repairs": analysis.timestamp_repairs,
            "num_shots": len(analysis.shots),
            "num_clips": len(analysis.clips),
            "luminance_mean": analysis.luminance_mean,
            "motion_mean": analysis.motion_mean,
        }
    row |= _failure_values(failure)
    return _with_extra(row, VIDEO_COLUMNS, video.extra)


def shot_row(video: VideoRecord, index: int, shot: Shot) -> Row:
    """The shot table's row of the `index`-th shot of a video."""
    return {
        "video_id": video.video_id,
        "source_uri": video.source_uri,
        "shot_index": index,
        **{name: getattr(shot, name) for name in shot.__dataclass_fields__},
    }


def failure_row(record: FailureRecord) -> Row:
    """The failure table's row of a failure."""
    failure = record.failure
    return {
        "item": record.item,
        "key": record.key,
        "source_uri": record.uri,
        **{name: getattr(failure, name) for name in failure.__dataclass_fields__},
    }


def _with_extra(row: Row, columns: tuple[Column, ...], extra: Mapping[str, Scalar]) -> Row:
    return {c.name: row.get(c.name) for c in columns} | dict(extra)
