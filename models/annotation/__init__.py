"""Spatial annotation of one clip: camera poses, depth maps and dynamic masks."""

from __future__ import annotations

from models.annotation.clip import ClipAnnotation, annotate_clip
from models.annotation.geometry import ClipGeometry, annotate_frames
from models.annotation.settings import AnnotationSettings

__all__ = ["AnnotationSettings", "ClipAnnotation", "ClipGeometry", "annotate_clip", "annotate_frames"]
