"""The analysis step: one decode per video, then one record per candidate clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from core.codec import from_json_text, to_json_text
from core.records import ClipRecord, VideoAnalysis, VideoRecord, make_clip_id
from core.stage import Stage, StageContract, StageOutput
from core.store import Store
from models.analysis import AnalysisSettings, analyse_video
from transforms.adapter import RunContext


class AnalyseVideo(Stage[VideoRecord]):
    """Decodes a video once: shots, clip intervals, luminance, motion and sample images."""

    contract = StageContract(
        name="AnalyseVideo",
        version=1,
        record=VideoRecord,
        reads=frozenset({"uri", "fingerprint", "info"}),
        writes=frozenset({"analysis"}),
    )
    settings: AnalysisSettings

    def __init__(self, settings: AnalysisSettings) -> None:
        self.settings = settings

    def run(self, record: VideoRecord, output: StageOutput) -> Mapping[str, Any]:
        """Analyses one video.

        Raises:
          ItemError: if no frame can be decoded.
        """
        if record.info is None:
            raise ValueError(f"video {record.video_id} was not probed")
        analysis = analyse_video(
            record.uri,
            record.info,
            self.settings,
            lambda name, data: output.write(name, data, "image/jpeg"),
            lambda count: output.progress.add(self.contract.name, "frames", count),
        )
        data = to_json_text(analysis).encode()
        return {"analysis": output.write("analysis.json", data, "application/json")}


def read_analysis(video: VideoRecord, store: Store) -> VideoAnalysis | None:
    """The analysis that a video record refers to; None for a failed video."""
    if video.failure is not None or video.analysis is None:
        return None
    return from_json_text(VideoAnalysis, store.read_bytes(video.analysis.path))


def clips_of(video: VideoRecord, analysis: VideoAnalysis) -> Iterator[ClipRecord]:
    """One record per candidate clip of an analysed video."""
    if video.info is None or video.fingerprint is None:
        raise ValueError(f"video {video.video_id} was analysed but not probed")
    for index, candidate in enumerate(analysis.clips):
        yield ClipRecord(
            clip_id=make_clip_id(video.video_id, index),
            video_id=video.video_id,
            uri=video.uri,
            page_url=video.page_url,
            extra=video.extra,
            fingerprint=video.fingerprint,
            info=video.info,
            span=candidate.span,
            width=candidate.width,
            height=candidate.height,
            shot=analysis.shots[candidate.shot_index],
            shot_index=candidate.shot_index,
            samples=candidate.samples,
            scores=candidate.scores,
            timestamp_repairs=analysis.timestamp_repairs,
            is_whole_video=candidate.span.num_frames == analysis.num_frames and not analysis.decode_errors,
        )


class _FanOutDoFn(beam.DoFn):
    def __init__(self, context: RunContext) -> None:
        self._context = context

    def setup(self) -> None:
        self._store = self._context.open_store()

    def process(self, video: VideoRecord) -> Iterator[ClipRecord]:
        analysis = read_analysis(video, self._store)
        if analysis is not None:
            yield from clips_of(video, analysis)


@dataclasses.dataclass
class FanOutClips(beam.PTransform):
    """From analysed videos to their candidate clips, spread anew over the workers."""

    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, videos: beam.PCollection[Any]) -> beam.PCollection[Any]:
        return (
            videos
            | "ReadAnalyses" >> beam.ParDo(_FanOutDoFn(self.context)).with_output_types(ClipRecord)
            | "SpreadClips" >> beam.Reshuffle()
        )
