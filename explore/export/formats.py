"""Export formats, and the export of selected clips in one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from explore.clips import Clip, ShardReader, find_clips
from explore.export.colmap import ColmapExport
from explore.export.nerfstudio import NerfstudioExport
from explore.export.rerun_file import RerunExport
from explore.export.spatialvid import SpatialVidExport
from explore.export.tables import CsvExport
from explore.outputs import OutputError
from storage.store import Store
from storage.uris import normalize_uri


class Export(Protocol):
    """An export format: writes single clips, then files that cover all of them."""

    def __init__(self, target: Store) -> None: ...

    def reason_to_skip(self, clip: Clip) -> str | None:
        """Reason why a clip cannot be exported in this format; None if it can."""
        ...

    def add(self, clip: Clip) -> None:
        """Writes one clip."""
        ...

    def finish(self) -> None:
        """Writes files that cover all clips."""
        ...


FORMATS: Mapping[str, type[Export]] = {
    "spatialvid": SpatialVidExport,
    "colmap": ColmapExport,
    "nerfstudio": NerfstudioExport,
    "rerun": RerunExport,
    "csv": CsvExport,
}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Number of exported clips, and of skipped ones by reason."""

    clips: int
    left_out: Mapping[str, int]


def export_clips(
    output_uri: str,
    format_name: str,
    folder_uri: str,
    where: str | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Exports kept clips to `folder_uri` (path or fsspec URI); equal clips give equal files.

    Args:
      output_uri: folder of a finished run.
      format_name: one of `FORMATS`.
      folder_uri: where to write; files of the same name are replaced.
      where: SQL condition over the clip table.
      on_progress: called with the id of each written clip.

    Raises:
      OutputError: if the folder is no finished run, the condition is wrong, no clip meets it, or the format needs a
        package that is not installed.
    """
    rows = find_clips(output_uri, where)
    if not rows:
        raise OutputError("no kept clip meets the condition" if where else "the data set has no kept clip")
    export = FORMATS[format_name](Store(normalize_uri(folder_uri)))
    left_out: Counter[str] = Counter()
    for clip in ShardReader(output_uri).read_all(rows):
        reason = export.reason_to_skip(clip)
        if reason is None:
            export.add(clip)
            on_progress(clip.clip_id)
        else:
            left_out[reason] += 1
    export.finish()
    return ExportResult(len(rows) - left_out.total(), dict(left_out.most_common()))
