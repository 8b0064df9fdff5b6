"""The analysis stage: one decode per video, then one record per candidate clip."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import apache_beam as beam

from core.annotations import VideoAnalysis
from core.records import ClipRecord, VideoRecord, VideoWindow, make_clip_id
from core.references import Ref, find_refs
from core.serialization import from_json_text, to_json_text
from core.stage import StageContract
from core.time import FrameSpan
from core.video_info import VideoInfo
from models.registry import resolve_model
from models.registry.table import TRANSNET_V2
from models.video_analysis import AnalysisSettings, analyze_measured, analyze_video
from models.video_analysis.windows import UnfitWindowError, join_windows, measure_window, plan_windows
from storage.local_files import work_folder
from storage.stage_output import StageOutput
from storage.store import DamagedError, Store
from transforms.run_context import RunContext
from transforms.splitting import SplitStage
from transforms.stage import Stage

ARROW = "application/vnd.apache.arrow.stream"
logger = logging.getLogger(__name__)


class MeasureWindow(Stage[VideoWindow]):
    """Measures the frames of one window of a long video, for `AnalyzeVideo` to merge."""

    contract = StageContract(
        name="MeasureWindow",
        version=4,
        record=VideoWindow,
        reads=frozenset({"uri", "fingerprint", "info", "start_pts", "end_pts"}),
        writes=frozenset({"measured"}),
    )
    settings: AnalysisSettings

    def __init__(self, settings: AnalysisSettings) -> None:
        self.settings = settings

    def run(self, record: VideoWindow, output: StageOutput) -> Mapping[str, Any]:
        """Measures one window.

        Raises:
          ItemError: if the video cannot be read.
        """
        window = (record.start_pts, record.end_pts)
        with work_folder("window", tempfile.gettempdir()) as folder:
            path = os.path.join(folder, "frames.arrow")
            measured = measure_window(
                record.uri,
                record.info,
                self.settings,
                window,
                path,
                lambda count: output.progress.add(AnalyzeVideo.contract.name, "frames", count),
            )
            if measured.unfit is None:
                frames = output.store.put_file(path, output.path("frames.arrow"), ARROW)
                measured = dataclasses.replace(measured, frames=frames)
        return {"measured": measured}


class AnalyzeVideo(SplitStage[VideoRecord, VideoWindow]):
    """Decodes a video once: shots, clip intervals, luminance, motion and sample images.

    Windows of a long video may have been decoded in parallel before; the result is the same.

    Args:
      settings: what is computed.
      window_s: length of the windows of long videos, in seconds.

    Raises:
      WeightsError: if the shot detector's package is missing.
    """

    contract = StageContract(
        name="AnalyzeVideo",
        version=5,
        record=VideoRecord,
        reads=frozenset({"uri", "fingerprint", "info"}),
        writes=frozenset({"analysis"}),
    )
    settings: AnalysisSettings

    def __init__(self, settings: AnalysisSettings, window_s: float = math.inf) -> None:
        self.settings = settings
        self.window_s = window_s
        if settings.shots.mode == "transnetv2":
            self.cards, self.digests = (TRANSNET_V2,), (resolve_model(TRANSNET_V2).digest,)
        self.part_stage = MeasureWindow(settings)

    @property
    def device(self) -> str:
        """Where the shot detector runs."""
        return self.settings.shots.transnetv2.device if self.cards else "cpu"

    def parts(self, record: VideoRecord) -> list[VideoWindow]:
        """The windows of a long video."""
        if record.info is None:
            return []
        windows = plan_windows(record.info, self.settings, self.window_s)
        return [
            VideoWindow(
                video_id=record.video_id,
                uri=record.uri,
                fingerprint=record.fingerprint,
                info=record.info,
                index=index,
                start_pts=start_pts,
                end_pts=end_pts,
            )
            for index, (start_pts, end_pts) in enumerate(windows)
        ]

    def whole_key(self, part: VideoWindow) -> str:
        """The video of a window."""
        return part.video_id

    def run(self, record: VideoRecord, output: StageOutput) -> Mapping[str, Any]:
        """Analyzes one video.

        Raises:
          ItemError: if no frame can be decoded.
        """
        if record.info is None:
            raise ValueError(f"video {record.video_id} was not probed")
        analysis = self._joined(record, record.info, output)
        if analysis is None:
            analysis = analyze_video(
                record.uri,
                record.info,
                self.settings,
                lambda name, data: output.write(name, data, "image/jpeg"),
                lambda count: output.progress.add(self.contract.name, "frames", count),
            )
        data = to_json_text(analysis).encode()
        return {"analysis": output.write("analysis.json", data, "application/json")}

    def stored_refs(self, changes: Mapping[str, Any], store: Store) -> Iterator[Ref]:
        """The analysis and the sample images that it refers to."""
        analysis = changes["analysis"]
        yield analysis
        yield from find_refs(from_json_text(VideoAnalysis, store.read(analysis)))

    def _joined(self, record: VideoRecord, info: VideoInfo, output: StageOutput) -> VideoAnalysis | None:
        """The analysis merged from measured windows; None if that is not possible."""
        windows = self.part_results(record, output)
        if windows is None:
            return None
        measured = [window.measured for window in windows if window.measured is not None]

        def open_part(number: int) -> AbstractContextManager[str]:
            frames = measured[number].frames
            if frames is None:
                raise UnfitWindowError(f"window {number} was not measured")
            return output.store.local_copy(frames)

        try:
            analysis = analyze_measured(
                join_windows(measured, open_part),
                info,
                self.settings,
                lambda name, data: output.write(name, data, "image/jpeg"),
            )
        except (UnfitWindowError, DamagedError) as reason:
            logger.warning("%s is analyzed in one piece, since %s", record.uri, reason)
            return None
        logger.info("%s was analyzed in %d windows", record.uri, len(windows))
        return analysis


def read_analysis(video: VideoRecord, store: Store) -> VideoAnalysis | None:
    """The analysis that a video record refers to; None for a failed video."""
    if video.failure is not None or video.analysis is None:
        return None
    return from_json_text(VideoAnalysis, store.read(video.analysis))


def clips_of(video: VideoRecord, analysis: VideoAnalysis) -> Iterator[ClipRecord]:
    """One record per candidate clip of an analyzed video."""
    if video.info is None or video.fingerprint is None:
        raise ValueError(f"video {video.video_id} was analyzed but not probed")
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
            cheap_scores=candidate.scores,
            timestamp_repairs=analysis.timestamp_repairs,
            is_whole_video=_is_whole(candidate.span, analysis),
        )


def _is_whole(span: FrameSpan, analysis: VideoAnalysis) -> bool:
    """Whether a clip is all of an undamaged video; one that ends inside the last frame is not."""
    lasts_as_long = math.isclose(span.duration_s, analysis.duration_s, rel_tol=1e-9)
    return span.num_frames == analysis.num_frames and lasts_as_long and not analysis.decode_errors


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
    """Candidate clips of analyzed videos, reshuffled over the workers."""

    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, videos: beam.PCollection[Any]) -> beam.PCollection[Any]:
        return (
            videos
            | "ReadAnalyses" >> beam.ParDo(_FanOutDoFn(self.context)).with_output_types(ClipRecord)
            | "SpreadClips" >> beam.Reshuffle()
        )
