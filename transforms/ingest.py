"""From inputs to videos: list, drop duplicates (with a failure row each), probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from core.failures import Failure
from core.records import FailureRecord, VideoRecord
from core.settings import Settings
from core.sources import SourceSpec, list_videos
from core.stage import Stage, StageContract, StageOutput
from media.probe import probe_video
from media.source import fingerprint


class ProbeSettings(Settings):
    """Reading of container facts; nothing to set."""


class ProbeVideo(Stage[VideoRecord]):
    """Reads what the container says of itself, and the file's fingerprint."""

    contract = StageContract(
        name="ProbeVideo",
        version=1,
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


class _KeepOneDoFn(beam.DoFn):
    """Of all listings of one id, keeps one; the others become failure rows."""

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
    The grouping by id also spreads the videos over the workers.
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
        return outputs.videos, outputs[_KeepOneDoFn.DUPLICATES]
