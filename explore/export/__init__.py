"""Exports clips of a finished data set to the formats of other programs."""

from explore.export.formats import FORMATS, ExportResult, export_clips

__all__ = ["FORMATS", "ExportResult", "export_clips"]
