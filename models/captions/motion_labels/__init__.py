"""Camera motion labels from poses: the 13 labels of SpatialVID's instructions."""

from __future__ import annotations

from models.captions.motion_labels.detection import MotionLabels, label_motion
from models.captions.motion_labels.reference import label_plain, label_voted
from models.captions.motion_labels.segments import MotionSegment, to_instructions
from models.captions.motion_labels.settings import MotionLabelSettings

__all__ = [
    "MotionLabelSettings",
    "MotionLabels",
    "MotionSegment",
    "label_motion",
    "label_plain",
    "label_voted",
    "to_instructions",
]
