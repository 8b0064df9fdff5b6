"""Stages that annotate kept clips: poses, depth and dynamic masks; trajectory metrics and motion labels."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.annotations import AnnotationValues, CameraMotion, SpatialAnnotation
from core.digest import DIGEST_LENGTH
from core.records import ClipRecord, ClipStatus, Scalar
from core.references import Ref
from core.stage import StageContract
from media.clip_frames import read_clip_frames
from media.probe import probe_video
from models.annotation import AnnotationSettings, ClipAnnotation, annotate_clip
from models.annotation.files import instructions_json, read_dynamic_ratios
from models.captions.motion_labels import detection, to_instructions
from models.captions.motion_labels import reference as labels_reference
from models.depth.mono_depth_file import MonoDepths
from models.geometry import trajectory, trajectory_reference
from models.geometry.camera_path import interpolate_missing_poses, registered_span
from models.sfm.estimate import Intrinsics, resize_intrinsics
from models.sfm.estimators import estimator_version, make_estimator
from models.slam.tracked_frames import TrackedFrames
from storage.shard_members import npy_bytes, read_npy
from storage.stage_output import StageOutput
from transforms.stage import Stage

NPY, NPZ, JSON = "application/x-npy", "application/x-npz", "application/json"
INTRINSICS_COLUMNS = ("fx", "fy", "cx", "cy")
MAX_UNREGISTERED_S = 1.0
"""Longest time without poses, at a clip's start or end, that the motion sentence does not mention."""


class EstimateGeometry(Stage[ClipRecord]):
    """Estimates poses, intrinsics, depth and dynamic masks from one decode of each cut clip."""

    contract = StageContract(
        name="EstimateGeometry",
        version=14,
        record=ClipRecord,
        reads=frozenset({"encoded", "extra", "width", "height"}),
        writes=frozenset({"geometry"}),
    )
    settings: AnnotationSettings
    settings_read = (
        "pose.model",
        "pose.colmap",
        "pose.megasam.min_static",
        "fps",
        "poses_every_frame",
        "max_side_px",
        "depth_max_side_px",
        "window_frames",
        "window_overlap_frames",
        "intrinsics",
    )

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings
        self._version = estimator_version(settings.pose.model, settings.pose.colmap)
        if settings.depth.has_network:
            self.contract = replace(self.contract, reads=self.contract.reads | {"mono_depth"})
        if settings.pose.model == "megasam":
            self.contract = replace(self.contract, reads=self.contract.reads | {"tracked"})

    @property
    def model_digest(self) -> str | None:
        """Version of the package that estimates poses; None for our own estimators."""
        return self._version

    def setup(self, num_threads: int) -> None:
        """Creates the pose estimator."""
        self._num_threads = num_threads
        if self.settings.pose.model != "none":
            # By default OpenCV uses all cores in each worker.
            cv2.setNumThreads(num_threads)
            self._estimate = make_estimator(self.settings.pose.model, self.settings.pose.colmap)

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are annotated."""
        return record.status is ClipStatus.KEPT and self.settings.pose.model != "none"

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Annotates one clip.

        Raises:
          ItemError: if the cut clip cannot be read.
        """
        if record.encoded is None:
            raise ValueError(f"clip {record.clip_id} is kept but was not cut")
        settings = self.settings
        fps = None if settings.fps == "source" else float(settings.fps)
        known = known_intrinsics(record.extra)
        with (
            output.store.local_copy(record.encoded.video.path) as path,
            tempfile.TemporaryDirectory(prefix="spatialbeam-annotate-") as folder,
        ):
            info = probe_video(path)
            clip_size = info.display_width, info.display_height
            if known is not None:
                known = known.resized((record.width, record.height), clip_size)
            frames = read_clip_frames(path, info, fps, settings.max_side_px, include_skipped=settings.poses_every_frame)
            mono_depths = None
            if record.mono_depth is not None:
                mono_depths = MonoDepths.read(output.store.read_bytes(record.mono_depth.file.path))
            tracked = None
            if record.tracked is not None:
                tracked = TrackedFrames.from_bytes(output.store.read_bytes(record.tracked.file.path))
            found = annotate_clip(
                frames,
                clip_size,
                known,
                settings,
                self._estimate,
                folder,
                mono_depths=mono_depths,
                tracked=tracked,
                num_threads=self._num_threads,
            )
            return {"geometry": _write(found, clip_size, output)}


def _write(found: ClipAnnotation, clip_size: tuple[int, int], output: StageOutput) -> SpatialAnnotation:
    """Stores the annotation's arrays and files; returns the record that refers to them."""

    def array(name: str, values: npt.NDArray[Any]) -> Ref:
        return output.write(f"{name}.npy", npy_bytes(values), NPY)

    def file(name: str, path: str | None) -> Ref | None:
        if path is None:
            return None
        with open(path, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()[:DIGEST_LENGTH]
        return output.store.put_file(path, output.path(f"{name}.npz"), NPZ, digest)

    dense = found.dense_cam_from_world
    return SpatialAnnotation(
        poses=array("poses", found.cam_from_world),
        intrinsics=array("intrinsics", resize_intrinsics(found.intrinsics_px, found.size, clip_size)),
        frames=array("frames", np.stack([np.arange(len(found.frame)), found.frame], axis=1)),
        times=array("times", found.time_s),
        depth=file("depth", found.depth_path),
        dense_poses=None if dense is None else array("poses_dense", dense),
        masks=file("dyn_masks", found.masks_path),
        **{field.name: getattr(found, field.name) for field in fields(AnnotationValues)},
    )


class LabelMotion(Stage[ClipRecord]):
    """Measures the trajectory and labels the camera motion of each clip with usable poses.

    All values describe the span from the first registered frame to the last one.
    """

    contract = StageContract(
        name="LabelMotion",
        version=4,
        record=ClipRecord,
        reads=frozenset({"geometry"}),
        writes=frozenset({"camera_motion"}),
    )
    settings: AnnotationSettings
    settings_read = ("parity", "labels")

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Only clips whose poses are usable."""
        return record.geometry is not None and record.geometry.pose_ok

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Measures and labels one clip."""
        geometry = record.geometry
        if geometry is None:
            raise ValueError(f"clip {record.clip_id} has no poses")
        all_times_s, poses = _load(output, geometry.times.path), _load(output, geometry.poses.path)
        span = registered_span(poses)
        times_s = all_times_s[span]
        poses = interpolate_missing_poses(poses[span], times_s)
        has_translation = geometry.camera_motion_kind == "general" and geometry.scene_depth is not None
        dynamic_ratios = None
        if geometry.masks is not None:
            dynamic_ratios = read_dynamic_ratios(output.store.read_bytes(geometry.masks.path))[span]
        metrics = trajectory_reference if self.settings.parity else trajectory
        labeler = labels_reference if self.settings.parity else detection
        measured = metrics.measure_trajectory(
            poses, times_s=times_s, has_translation=has_translation, dynamic_ratios=dynamic_ratios
        )
        labels = labeler.label_motion(
            poses,
            times_s=times_s,
            scene_depth=geometry.scene_depth,
            has_translation=has_translation,
            settings=self.settings.labels,
        )
        sentence = labels.sentence
        if sentence and max(times_s[0] - all_times_s[0], all_times_s[-1] - times_s[-1]) > MAX_UNREGISTERED_S:
            sentence = f"From {times_s[0]:.1f} s to {times_s[-1]:.1f} s: {sentence}"
        data = instructions_json(to_instructions(labels.segments, span.start))
        instructions = output.write("instructions.json", data, JSON)
        return {
            "camera_motion": CameraMotion(
                instructions=instructions,
                motion_sentence=sentence,
                trajectory=measured,
            )
        }


def known_intrinsics(extra: Mapping[str, Scalar]) -> Intrinsics | None:
    """Intrinsics from the manifest columns fx, fy, cx, cy (pixels of the source), or None."""
    values = [extra.get(name) for name in INTRINSICS_COLUMNS]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in values):
        return None
    fx, fy, cx, cy = (float(v) for v in values if v is not None)
    return Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy) if min(fx, fy) > 0 else None


def _load(output: StageOutput, path: str) -> npt.NDArray[Any]:
    return read_npy(output.store.read_bytes(path))
