"""The cutting stage: kept clips become video files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

from core.annotations import EncodedClip
from core.records import ClipRecord, ClipStatus
from core.stage import StageContract
from media.encode import CutResult, CutSettings, copy_clip, cut_clip
from storage.local_files import work_folder
from storage.stage_output import StageOutput
from transforms.stage import Stage


class CutClips(Stage[ClipRecord]):
    """Cuts and encodes each kept clip, frame-exact, and verifies what was written."""

    contract = StageContract(
        name="CutClips",
        version=6,
        record=ClipRecord,
        reads=frozenset({"uri", "fingerprint", "info", "span", "timestamp_repairs", "is_whole_video"}),
        writes=frozenset({"encoded"}),
    )
    settings: CutSettings

    def __init__(self, settings: CutSettings) -> None:
        self.settings = settings

    def concurrency(self, num_threads: int) -> int:
        """Clips that a worker encodes at a time, each on one thread.

        So the bytes do not depend on it.
        """
        return num_threads

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are cut."""
        return record.status is ClipStatus.KEPT

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Cuts one clip.

        Raises:
          ItemError: if the source cannot be read any more or the result is not the interval asked for.
        """
        with work_folder("cut", tempfile.gettempdir()) as folder:
            path = os.path.join(folder, "clip.mp4")
            # Timestamps that had to be repaired while reading from the start cannot be sought to.
            use_index = record.timestamp_repairs == 0
            cut = self._copied(record, path)
            is_copy = cut is not None
            if cut is None:
                cut = cut_clip(record.uri, record.span, record.info, self.settings, path, use_index=use_index)
            video = output.store.put_file(path, output.path("clip.mp4"), "video/mp4", cut.digest)
        encoded = EncodedClip(
            video=video,
            codec=cut.codec,
            pixel_format=cut.pixel_format,
            width=cut.width,
            height=cut.height,
            num_frames=cut.num_frames,
            duration_s=float(cut.duration_s),
            fps=float(cut.fps),
            is_copy=is_copy,
            has_audio=cut.has_audio,
        )
        return {"encoded": encoded}

    def _copied(self, record: ClipRecord, path: str) -> CutResult | None:
        """The source file copied as a whole, or None if it must be encoded."""
        is_wanted = self.settings.whole_video == "copy" and record.is_whole_video and not record.timestamp_repairs
        return copy_clip(record.uri, record.span, record.info, self.settings, path) if is_wanted else None
