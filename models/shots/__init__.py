"""Shot boundaries: the default detector on thumbnails, and the reference's two detectors."""

from models.shots.config import ReferenceShotSettings, ShotSettings
from models.shots.detector import Boundary, BoundaryKind, ShotDetector
from models.shots.reference import ReferenceShotDetector, bgr_as_opencv

__all__ = [
    "Boundary",
    "BoundaryKind",
    "ReferenceShotDetector",
    "ReferenceShotSettings",
    "ShotDetector",
    "ShotSettings",
    "bgr_as_opencv",
]
