"""The motion stage: trajectory metrics and camera-motion labels of each clip with usable poses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from core.annotations import CameraMotion
from core.records import ClipRecord
from core.references import Ref
from core.stage import StageContract
from models.annotation import AnnotationSettings
from models.annotation.files import instructions_json, read_dynamic_ratios
from models.captions.motion_labels import detection, to_instructions
from models.captions.motion_labels import reference as labels_reference
from models.geometry import trajectory, trajectory_reference
from models.geometry.camera_path import interpolate_missing_poses, registered_span
from storage.shard_members import read_npy
from storage.stage_output import StageOutput
from transforms.stage import Stage

MAX_UNREGISTERED_S = 1.0
"""Longest time without poses, at a clip's start or end, that the motion sentence does not mention."""


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
        all_times_s, poses = _load(output, geometry.times), _load(output, geometry.poses)
        span = registered_span(poses)
        times_s = all_times_s[span]
        poses = interpolate_missing_poses(poses[span], times_s)
        has_translation = geometry.camera_motion_kind == "general" and geometry.scene_depth is not None
        dynamic_ratios = None
        if geometry.masks is not None:
            dynamic_ratios = read_dynamic_ratios(output.store.read(geometry.masks))[span]
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
        instructions = output.write("instructions.json", data, "application/json")
        return {
            "camera_motion": CameraMotion(
                instructions=instructions,
                motion_sentence=sentence,
                trajectory=measured,
            )
        }


def _load(output: StageOutput, ref: Ref) -> npt.NDArray[Any]:
    return read_npy(output.store.read(ref))
