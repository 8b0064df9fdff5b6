"""Words for the motion of a clip's camera: the 13 words of SpatialVID's instructions, from poses."""

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
