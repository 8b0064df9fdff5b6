"""The geometry stage: camera poses, intrinsics, depth and dynamic masks of each kept clip."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.annotations import AnnotationValues, SpatialAnnotation
from core.records import ClipRecord, ClipStatus, Scalar
from core.references import Ref
from core.stage import StageContract
from media.clip_frames import read_clip_frames
from media.probe import probe_video
from models.annotation import AnnotationSettings, ClipAnnotation, annotate_clip
from models.depth.mono_depth_file import MonoDepths
from models.sfm.estimate import Intrinsics, resize_intrinsics
from models.sfm.estimators import estimator_version, make_estimator
from models.slam.tracked_frames import TrackedFrames
from storage.local_files import work_folder
from storage.shard_members import npy_bytes
from storage.stage_output import StageOutput
from transforms.stage import Stage

NPY, NPZ, JSON = "application/x-npy", "application/x-npz", "application/json"
INTRINSICS_COLUMNS = ("fx", "fy", "cx", "cy")


class EstimateGeometry(Stage[ClipRecord]):
    """Estimates poses, intrinsics, depth and dynamic masks from one decode of each cut clip."""

    contract = StageContract(
        name="EstimateGeometry",
        version=16,
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
            output.store.local_copy(record.encoded.video) as path,
            work_folder("annotate", tempfile.gettempdir()) as folder,
        ):
            info = probe_video(path)
            clip_size = info.display_width, info.display_height
            if known is not None:
                known = known.resized((record.width, record.height), clip_size)
            frames = read_clip_frames(path, info, fps, settings.max_side_px, include_skipped=settings.poses_every_frame)
            mono_depths = None
            if record.mono_depth is not None:
                mono_depths = MonoDepths.read(output.store.read(record.mono_depth.file))
            tracked = None
            if record.tracked is not None:
                tracked = TrackedFrames.from_bytes(output.store.read(record.tracked.file))
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
        return output.store.put_file(path, output.path(f"{name}.npz"), NPZ)

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


def known_intrinsics(extra: Mapping[str, Scalar]) -> Intrinsics | None:
    """Intrinsics from the manifest columns fx, fy, cx, cy (pixels of the source), or None."""
    values = [extra.get(name) for name in INTRINSICS_COLUMNS]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in values):
        return None
    fx, fy, cx, cy = (float(v) for v in values if v is not None)
    return Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy) if min(fx, fy) > 0 else None
