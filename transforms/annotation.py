"""The annotation steps: poses, depth and masks of each kept clip from its frames, then facts and words from poses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from core.clip_files import npy_bytes, read_npy
from core.records import CameraMotionFacts, ClipGeometryFacts, ClipRecord, ClipStatus, Scalar
from core.stage import Stage, StageContract, StageOutput
from media.clip_frames import ClipFrames, read_clip_frames
from media.probe import probe_video
from models.annotation import AnnotationSettings, ClipGeometry, annotate_frames
from models.annotation.files import (
    depth_file,
    instructions_file,
    map_size,
    mask_shares,
    masks_file,
)
from models.camera_path import fill_poses
from models.motion_labels import label_motion, label_voted, to_instructions
from models.poses.estimate import Intrinsics
from models.poses.settings import estimator_version, make_estimator
from models.trajectory import measure_trajectory

NPY, NPZ, JSON = "application/x-npy", "application/x-npz", "application/json"
INTRINSICS_COLUMNS = ("fx", "fy", "cx", "cy")


class EstimateGeometry(Stage[ClipRecord]):
    """Decodes each cut clip once and finds camera poses, intrinsics, depth maps and dynamic masks."""

    contract = StageContract(
        name="EstimateGeometry",
        version=2,
        record=ClipRecord,
        reads=frozenset({"encoded", "extra", "width", "height"}),
        writes=frozenset({"geometry"}),
    )
    settings: AnnotationSettings

    def __init__(self, settings: AnnotationSettings) -> None:
        # What only the words depend on must not change the identity of the geometry.
        self.settings = settings.model_copy(
            update={
                name: AnnotationSettings.model_fields[name].get_default(call_default_factory=True)
                for name in ("labels", "parity")
            }
        )
        self._version = estimator_version(self.settings.pose)

    @property
    def model_digest(self) -> str | None:
        """The version of the package that finds the poses, where one does."""
        return self._version

    def setup(self) -> None:
        """Makes the pose estimator."""
        if self.settings.pose.model != "none":
            self._estimate = make_estimator(self.settings.pose)

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
        fps = None if self.settings.fps == "source" else float(self.settings.fps)
        with output.store.local_copy(record.encoded.video.path) as path:
            frames = read_clip_frames(path, probe_video(path), fps, self.settings.max_side_px)
        known = known_intrinsics(record.extra)
        if known is not None:
            known = known.resized((record.width, record.height), frames.size)
        geometry = annotate_frames(frames, known, self.settings.intrinsics, estimate=self._estimate)
        return {"geometry": self._write(frames, geometry, output)}

    def _write(self, frames: ClipFrames, geometry: ClipGeometry, output: StageOutput) -> ClipGeometryFacts:
        poses = geometry.poses
        count = len(frames.rgb)
        of_clip = Intrinsics.of(poses.intrinsics_px).resized(frames.size, frames.clip_size)
        size = map_size(frames.size, self.settings.depth_max_side_px)
        depth, sigma, valid, moving = geometry.depth, geometry.depth_sigma, geometry.is_depth_valid, geometry.is_moving
        depth_ref = None
        if depth is not None and sigma is not None and valid is not None:
            depth_ref = output.write("depth.npz", depth_file(depth, sigma, valid, size, frames.clip_size), NPZ)
        frame_map = np.stack([np.arange(count), frames.frame], axis=1)
        return ClipGeometryFacts(
            poses=output.write("poses.npy", npy_bytes(poses.cam_from_world), NPY),
            intrinsics=output.write("intrinsics.npy", npy_bytes(np.tile(of_clip.as_array(), (count, 1))), NPY),
            frames=output.write("frames.npy", npy_bytes(frame_map), NPY),
            times=output.write("times.npy", npy_bytes(frames.time_s), NPY),
            depth=depth_ref,
            masks=None if moving is None else output.write("dyn_masks.npz", masks_file(moving, size), NPZ),
            num_frames=count,
            pose_ok=poses.pose_ok,
            pose_reason=poses.reason,
            motion_kind=poses.motion_kind,
            registered_share=float(poses.registered.mean()),
            reprojection_px=poses.reprojection_px,
            num_points=len(poses.points_world),
            typical_depth=geometry.typical_depth,
            depth_valid_share=None if valid is None else float(valid.mean()),
            moving_share=None if moving is None else float(moving.mean()),
            depth_reason=None if depth_ref else poses.reason or "the camera does not translate",
            masks_reason=None if moving is not None else poses.reason,
        )


class LabelMotion(Stage[ClipRecord]):
    """Trajectory metrics, motion words and a sentence from the poses of each annotated clip."""

    contract = StageContract(
        name="LabelMotion",
        version=3,
        record=ClipRecord,
        reads=frozenset({"geometry"}),
        writes=frozenset({"camera_motion"}),
    )
    settings: AnnotationSettings

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Only clips whose poses are fit for use get facts."""
        return record.geometry is not None and record.geometry.pose_ok

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Measures and labels one clip."""
        geometry = record.geometry
        if geometry is None:
            raise ValueError(f"clip {record.clip_id} has no poses")
        times_s = _load(output, geometry.times.path)
        poses = fill_poses(_load(output, geometry.poses.path), times_s)
        moves = geometry.motion_kind == "general" and geometry.typical_depth is not None
        shares = None
        if geometry.masks is not None:
            shares = mask_shares(output.store.read_bytes(geometry.masks.path))
        facts = measure_trajectory(
            poses, times_s=times_s, has_translation=moves, moving_share=shares, parity=self.settings.parity
        )
        sentence: str | None = None
        if self.settings.parity:
            segments = label_voted(poses, facts.move_dist)
        else:
            labels = label_motion(
                poses,
                times_s=times_s,
                scene_depth=geometry.typical_depth,
                has_translation=moves,
                settings=self.settings.labels,
            )
            segments, sentence = labels.segments, labels.sentence
        instructions = output.write("instructions.json", instructions_file(to_instructions(segments)), JSON)
        return {
            "camera_motion": CameraMotionFacts(
                instructions=instructions,
                motion_sentence=sentence,
                trajectory=facts,
            )
        }


def known_intrinsics(extra: Mapping[str, Scalar]) -> Intrinsics | None:
    """The camera that the manifest states (columns fx, fy, cx, cy in pixels of the source), if it does."""
    values = [extra.get(name) for name in INTRINSICS_COLUMNS]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in values):
        return None
    fx, fy, cx, cy = (float(v) for v in values if v is not None)
    return Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy) if min(fx, fy) > 0 else None


def _load(output: StageOutput, path: str) -> npt.NDArray[Any]:
    return read_npy(output.store.read_bytes(path))
