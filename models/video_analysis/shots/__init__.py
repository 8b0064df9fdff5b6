"""Shot boundary detectors: the default and TransNetV2 on thumbnails, and SpatialVID's two."""

from models.video_analysis.shots.detector import Boundary, BoundaryKind, ShotDetector
from models.video_analysis.shots.reference import ReferenceShotDetector, bgr_as_opencv
from models.video_analysis.shots.settings import ReferenceShotSettings, ShotSettings, TransNetSettings
from models.video_analysis.shots.transnet import TransNetDetector

__all__ = [
    "Boundary",
    "BoundaryKind",
    "ReferenceShotDetector",
    "ReferenceShotSettings",
    "ShotDetector",
    "ShotSettings",
    "TransNetDetector",
    "TransNetSettings",
    "bgr_as_opencv",
]
