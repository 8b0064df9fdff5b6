"""Clips of a finished data set in the layouts that other programs read."""

from explore.export.formats import FORMATS, Exported, export_clips

__all__ = ["FORMATS", "Exported", "export_clips"]
