"""Clips of a finished data set in the layouts that other programs read."""

from explore.export.formats import FORMATS, ExportResult, export_clips

__all__ = ["FORMATS", "ExportResult", "export_clips"]
