"""Shot boundaries: the default detector and a network on thumbnails, and the reference's two detectors."""

from models.shots.config import ReferenceShotSettings, ShotSettings, TransNetSettings
from models.shots.detector import Boundary, BoundaryKind, ShotDetector, Thumbnail
from models.shots.reference import ReferenceShotDetector, bgr_as_opencv
from models.shots.transnet import TransNetDetector

__all__ = [
    "Boundary",
    "BoundaryKind",
    "ReferenceShotDetector",
    "ReferenceShotSettings",
    "ShotDetector",
    "ShotSettings",
    "Thumbnail",
    "TransNetDetector",
    "TransNetSettings",
    "bgr_as_opencv",
]
