"""Reads the input of a captioner from a kept clip's record and the store."""

from __future__ import annotations

import json

import numpy as np

from core.records import ClipRecord
from core.scores import TEXT_AREA
from media.probe import probe_video
from models.captions.captioner import CaptionInput
from models.captions.draft import MeasuredClip
from models.captions.frames import EvenSampler, read_images
from models.captions.motion import CameraPath, expand_instructions
from models.captions.motion_labels.steps import measure_steps
from models.captions.reference import SpatialVidSampler
from models.captions.settings import FrameSettings
from models.geometry.camera_path import interpolate_missing_poses, registered_span
from storage.shard_members import read_npy
from storage.store import Store


def read_caption_input(record: ClipRecord, settings: FrameSettings, store: Store) -> CaptionInput:
    """The models' input for a kept clip: measured values and sampled frames.

    Raises:
      ItemError: if the cut clip cannot be read.
    """
    encoded = record.encoded
    if encoded is None:
        raise ValueError(f"clip {record.clip_id} is kept but was not cut")
    with store.local_copy(encoded.video) as path:
        sampler = SpatialVidSampler() if settings.parity else EvenSampler(settings)
        images, times_s = read_images(path, probe_video(path), encoded.num_frames, encoded.fps, sampler)
    return CaptionInput(measured=read_measured_clip(record, store), images=tuple(images), times_s=tuple(times_s))


def read_measured_clip(record: ClipRecord, store: Store) -> MeasuredClip:
    """Measured values of a kept clip, for its caption."""
    if record.encoded is None:
        raise ValueError(f"clip {record.clip_id} is kept but was not cut")
    geometry, motion, scores = record.geometry, record.camera_motion, record.cheap_scores
    text = record.scores.get(TEXT_AREA.name)
    return MeasuredClip(
        width=record.width,
        height=record.height,
        duration_s=record.encoded.duration_s,
        luminance=scores.luminance_score,
        darkest=scores.luminance_all_min,
        brightest=scores.luminance_all_max,
        text_share=text.value if text else None,
        moving_share=geometry.dynamic_ratio if geometry else None,
        motion_sentence=motion.motion_sentence if motion else None,
        pose_reason=geometry.pose_reason if geometry else "poses were not estimated",
        path=_camera_path(record, store),
    )


def _camera_path(record: ClipRecord, store: Store) -> CameraPath | None:
    """Camera motion and its labels; None without valid poses, or with just one."""
    geometry, motion, encoded = record.geometry, record.camera_motion, record.encoded
    if geometry is None or motion is None or encoded is None:
        return None
    frame_map = read_npy(store.read(geometry.frames))
    times_s = frame_map[:, 1].astype(np.float64) * (encoded.duration_s / encoded.num_frames)
    poses = read_npy(store.read(geometry.poses))
    labels = expand_instructions(json.loads(store.read(motion.instructions)), len(poses))
    span = registered_span(poses)
    if span.stop - span.start < 2:
        return None
    poses, times_s = interpolate_missing_poses(poses[span], times_s[span]), times_s[span]
    moves = geometry.camera_motion_kind == "general" and geometry.scene_depth is not None
    steps = measure_steps(poses, times_s=times_s, scene_depth=geometry.scene_depth, has_translation=moves)
    metrics = motion.trajectory
    return CameraPath(
        steps=steps,
        labels=labels[span.start : span.stop - 1],
        has_translation=moves,
        dist_level=metrics.dist_level if moves else None,
        turns=metrics.traj_turns if moves else None,
    )
