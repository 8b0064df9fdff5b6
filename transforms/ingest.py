"""The input stages: list videos, drop duplicates with a failure row, download, probe."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apache_beam as beam

from core.digest import digest_value
from core.failures import Failure
from core.records import FailureRecord, VideoRecord
from core.references import Ref
from core.serialization import from_jsonable
from core.settings import Settings
from core.stage import StageContract
from media.download import (
    RANGE_COLUMNS,
    DownloadSettings,
    check_downloader,
    copy_range,
    download_page,
    is_page,
    read_range,
)
from media.probe import probe_video
from media.source import fingerprint
from storage.local_files import work_folder
from storage.sources import SourceSpec, list_videos
from storage.stage_output import StageOutput
from storage.store import DamagedError, Store
from transforms.stage import Stage


class ProbeSettings(Settings):
    """Probing of containers; nothing to set."""


class ProbeVideo(Stage[VideoRecord]):
    """Reads the container's header and the file's fingerprint."""

    contract = StageContract(
        name="ProbeVideo",
        version=3,
        record=VideoRecord,
        reads=frozenset({"uri"}),
        writes=frozenset({"fingerprint", "info"}),
        cached=False,
    )

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings

    def run(self, record: VideoRecord, output: StageOutput) -> Mapping[str, Any]:
        """Probes one video."""
        return {"fingerprint": fingerprint(record.uri), "info": probe_video(record.uri)}


class FetchVideo(Stage[VideoRecord]):
    """Downloads the videos of web pages into the store.

    Later stages read them as files.

    Raises:
      SourceError: if pages are wanted and yt-dlp is not installed.
    """

    contract = StageContract(
        name="FetchVideo",
        version=1,
        record=VideoRecord,
        reads=frozenset({"uri", "extra"}),
        writes=frozenset({"uri", "page_url"}),
        cached=False,
    )
    settings: DownloadSettings

    def __init__(self, settings: DownloadSettings) -> None:
        check_downloader(settings)
        self.settings = settings

    def applies(self, record: VideoRecord) -> bool:
        """Pages only."""
        return self.settings.pages and is_page(record.uri)

    def digest(self, record: VideoRecord) -> str:
        """Cache key of the file: page, time range and format.

        Other columns of the manifest are not part of it.
        """
        identity = {"version": self.contract.version, "uri": record.uri, "format": self.settings.format}
        return digest_value(identity | {name: record.extra.get(name) for name in RANGE_COLUMNS})

    def run(self, record: VideoRecord, output: StageOutput) -> Mapping[str, Any]:
        """Downloads one video, unless it is in the store.

        Raises:
          ItemError: BadRange, or what `download_page` raises.
        """
        time_range = read_range(record.extra)
        store, path = output.store, output.path("video")
        with _work_folder(store, output.path("partial")) as folder:
            if not _is_stored(output):
                found = download_page(record.uri, folder, self.settings)
                if time_range is not None:
                    whole, found = found, f"{found}.nut"
                    copy_range(whole, found, *time_range)
                output.keep("video.json", store.put_file(found, path, "application/octet-stream"))
        full = store.full_path(path)
        return {"uri": full if store.is_local else store.fs.unstrip_protocol(full), "page_url": record.uri}


def _is_stored(output: StageOutput) -> bool:
    """Whether the video was downloaded before, and is the one that was stored."""
    if (known := output.find("video.json")) is None:
        return False
    try:
        output.check(from_jsonable(Ref, known))
    except DamagedError as error:
        output.note_damage(error)
        return False
    return True


@contextmanager
def _work_folder(store: Store, path: str) -> Iterator[str]:
    """A folder to download into.

    A lock makes two workers with the same video take turns.
    """
    if not store.is_local:
        with work_folder("fetch", tempfile.gettempdir()) as folder:
            yield folder
        return
    folder = store.full_path(path)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


class _KeepOneDoFn(beam.DoFn):
    """Keeps one listing per id; the others become failure rows."""

    DUPLICATES = "duplicates"

    def process(self, keyed: tuple[str, Iterable[VideoRecord]]) -> Iterator[Any]:
        key, listed = keyed
        first, *others = sorted(listed, key=lambda v: (v.uri, repr(sorted(v.extra.items()))))
        yield first
        for other in others:
            if other.uri == first.uri:
                error_class, message = "DuplicateInput", "the input names this video more than once."
            else:
                error_class = "DuplicateId"
                message = f"id {key!r} is also that of {first.uri!r}. Remedy: give each video its own id."
            failure = Failure(stage="ListVideos", error_class=error_class, message=message)
            yield beam.pvalue.TaggedOutput(
                self.DUPLICATES, FailureRecord(item="input", key=key, uri=other.uri, failure=failure)
            )


@dataclasses.dataclass
class ListVideos(beam.PTransform):
    """Lists the videos of all sources, each once.

    Returns a tuple of two collections: `VideoRecord`s and the `FailureRecord`s of duplicate listings.
    Engines that assign groups to workers by key hash would load them unevenly: a reshuffle spreads videos evenly.
    """

    sources: tuple[SourceSpec, ...]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, root: Any) -> tuple[beam.PCollection[Any], beam.PCollection[Any]]:
        keep_one = beam.ParDo(_KeepOneDoFn()).with_output_types(VideoRecord, **{_KeepOneDoFn.DUPLICATES: FailureRecord})
        outputs = (
            root
            | "Sources" >> beam.Create(self.sources, reshuffle=False)
            | "ListFiles" >> beam.FlatMap(list_videos).with_output_types(VideoRecord)
            | "KeyById" >> beam.Map(lambda video: (video.video_id, video)).with_output_types(tuple[str, VideoRecord])
            | "GroupById" >> beam.GroupByKey()
            | "KeepOne" >> keep_one.with_outputs(_KeepOneDoFn.DUPLICATES, main="videos")
        )
        return outputs.videos | "SpreadVideos" >> beam.Reshuffle(), outputs[_KeepOneDoFn.DUPLICATES]
