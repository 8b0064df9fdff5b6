"""The job's graph: the one file to read to see what happens to a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_pipeline.config import PipelineConfig
from core.stage import check_order
from storage.sources import SourceSpec, merge_types
from transforms.analyze import AnalyzeVideo, FanOutClips
from transforms.annotation import EstimateGeometry
from transforms.captions import caption_stage
from transforms.clips import CutClips
from transforms.counters import CountRecords, expected, outcome
from transforms.dataset import DatasetSettings, WriteDataset
from transforms.depth import depth_stages
from transforms.duplicates import FindDuplicates, HashImages
from transforms.ingest import FetchVideo, ListVideos, ProbeVideo
from transforms.motion_labels import LabelMotion
from transforms.run_context import RunContext
from transforms.run_stage import RunModelStage, RunStage
from transforms.scores import aesthetic_stage, text_stage
from transforms.segmentation import mask_stages
from transforms.slam import tracking_stages
from transforms.splitting import RunSplitStage, SplitStage
from transforms.stage import CollectionStage, ModelStage, StageBase
from transforms.thresholds import apply_thresholds, reject_duplicates, reject_early, reject_late

VIDEO_FIELDS = ("video_id", "uri", "extra")
CLIP_FIELDS = [
    "clip_id",
    "video_id",
    "uri",
    "extra",
    "fingerprint",
    "info",
    "span",
    "width",
    "height",
    "shot",
    "shot_index",
    "samples",
    "cheap_scores",
    "timestamp_repairs",
    "is_whole_video",
    "status",
]


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a run in order: those over videos, then those over candidate clips."""

    video: tuple[StageBase[Any], ...]
    clip: tuple[StageBase[Any], ...]

    @property
    def all(self) -> tuple[StageBase[Any], ...]:
        """All stages, in order."""
        return (*self.video, *self.clip)

    @property
    def need_gpu(self) -> bool:
        """Whether models of some stage run on a GPU."""
        return any(stage.device == "cuda" for stage in self.all)

    def describe_models(self) -> dict[str, Any]:
        """Models of the run by stage, or the reason why there is none.

        Each model has its id, digest, license and source.
        """
        found = {stage.contract.name: stage.describe() for stage in self.all}
        return {name: model for name, model in found.items() if model is not None}


def make_stages(config: PipelineConfig) -> Stages:
    """Builds the stages and checks that each reads only what is there.

    Raises:
      ContractError: if the stages are in a wrong order.
    """
    stages = Stages(
        video=(
            FetchVideo(config.download),
            ProbeVideo(config.probe),
            AnalyzeVideo(config.analysis, config.run.window_s),
        ),
        clip=(
            reject_early(config.thresholds),
            HashImages(config.duplicates),
            FindDuplicates(config.duplicates),
            reject_duplicates(config.thresholds),
            text_stage(config.text),
            aesthetic_stage(config.aesthetic),
            apply_thresholds(config.thresholds),
            CutClips(config.cut),
            *depth_stages(config.annotate),
            *tracking_stages(config.annotate),
            EstimateGeometry(config.annotate),
            *mask_stages(config.annotate),
            LabelMotion(config.annotate),
            reject_late(config.thresholds),
            caption_stage(config.captions),
        ),
    )
    check_order((s.contract for s in stages.video), VIDEO_FIELDS)
    check_order((s.contract for s in stages.clip), CLIP_FIELDS)
    return stages


def build_graph(
    root: beam.Pipeline,
    stages: Stages,
    dataset: DatasetSettings,
    sources: Sequence[SourceSpec],
    output_uri: str,
    context: RunContext,
    hints: Mapping[str, Mapping[str, str]] | None = None,
) -> beam.PCollection[Any]:
    """Adds the whole job to a pipeline: URIs in, data set out.

    Args:
      root: the pipeline.
      stages: what is done with each video and clip.
      dataset: layout of the output.
      sources: checked inputs.
      output_uri: folder of the data set.
      context: store and progress of the run.
      hints: Beam's resource hints by stage, for engines that honor them.

    Returns:
      A collection with the path of the manifest, written last of all.
    """
    sources = merge_types(sources)
    extra_types = {name: kind for source in sources for name, kind in source.extra_types.items()}

    listed, duplicates = root | "ListVideos" >> ListVideos(sources)
    videos = listed | "Videos" >> _Chain("videos", stages.video, context, hints or {})
    candidates = videos | "FanOutClips" >> FanOutClips(context)
    clips = candidates | "Clips" >> _Chain("clips", stages.clip, context, hints or {})
    return (videos, clips, duplicates) | "WriteDataset" >> WriteDataset(output_uri, dataset, extra_types, context)


@dataclass
class _Chain(beam.PTransform):
    """A sequence of stages over one collection, counted at both ends."""

    group: str
    stages: tuple[StageBase[Any], ...]
    context: RunContext
    hints: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        records = records | "Expected" >> CountRecords(self.group, expected, self.context)
        for stage in self.stages:
            name = stage.contract.name
            hints = self.hints.get(name, {})
            if "accelerator" in hints:
                # GPU workers are few: the reshuffle lets all of them share all clips.
                records = records | f"SpreadFor{name}" >> beam.Reshuffle()
            records = records | name >> _step(stage, self.context).with_resource_hints(**hints)
        return records | "Outcome" >> CountRecords(self.group, outcome, self.context)


def _step(stage: StageBase[Any], context: RunContext) -> beam.PTransform:
    if isinstance(stage, CollectionStage):
        return stage.transform(context)
    if isinstance(stage, SplitStage):
        return RunSplitStage(stage, context)
    return RunModelStage(stage, context) if isinstance(stage, ModelStage) else RunStage(stage, context)
