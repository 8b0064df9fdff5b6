"""The step that sees depth in the frames of kept clips by networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from apache_beam.ml.inference.base import ModelHandler
from pydantic import Field

from core.annotations import MonoDepth
from core.records import ClipRecord, ClipStatus
from core.settings import Settings
from core.stage import StageContract, StageOutput
from models.annotation import AnnotationSettings
from models.depth.mono_depth import check_depth_models, chosen_models
from models.depth.mono_depth_file import MonoDepthFile
from models.depth.settings import DepthSettings
from transforms.handlers.clips import ClipVideo
from transforms.handlers.depth import DepthHandler
from transforms.run_stage import ModelStage


class DepthStageSettings(Settings):
    """What decides the maps, and nothing else: where weights lie and how batches are made does not."""

    fps: float | Literal["source"] = Field(description="See annotate.fps.")
    max_side_px: int = Field(description="See annotate.max_side_px.")
    depth: DepthSettings = Field(description="See annotate.depth.")


class EstimateDepth(ModelStage[ClipRecord]):
    """Sees depth in the annotated frames of each cut clip, by the networks that `annotate.depth` names."""

    contract = StageContract(
        name="EstimateDepth",
        version=1,
        record=ClipRecord,
        reads=frozenset({"encoded"}),
        writes=frozenset({"mono_depth"}),
    )
    settings: DepthStageSettings

    def __init__(self, settings: AnnotationSettings) -> None:
        fields = DepthSettings.model_fields
        neutral = ("relative_uri", "metric_uri", "batch_frames", "batch_mib", "clips_at_once", "decode_threads")
        self.settings = DepthStageSettings(
            fps=settings.fps,
            max_side_px=settings.max_side_px,
            depth=settings.depth.model_copy(update={name: fields[name].default for name in neutral}),
        )
        self._depth = settings.depth
        self._decode_on_gpu = settings.decoder == "nvdec"
        found = check_depth_models(settings.depth)
        chosen = [(kind, card) for kind, card, _ in chosen_models(settings.depth)]
        self.cards = tuple(card for _, card in chosen)
        self.digests = tuple(found[kind].digest for kind, _ in chosen)
        self._names = {kind: f"{card.model_id}@{found[kind].digest[:16]}" for kind, card in chosen}

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are annotated."""
        return record.status is ClipStatus.KEPT

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The networks."""
        fps = None if self.settings.fps == "source" else float(self.settings.fps)
        return DepthHandler(store_uri, self._depth, fps, self.settings.max_side_px, self._decode_on_gpu)

    @property
    def device(self) -> str:
        """Where the networks run."""
        return self._depth.device

    def example(self, record: ClipRecord) -> ClipVideo:
        """The cut clip."""
        if record.encoded is None:
            raise ValueError(f"clip {record.clip_id} is kept but was not cut")
        return ClipVideo(clip_id=record.clip_id, video=record.encoded.video)

    def fields(self, record: ClipRecord, prediction: MonoDepthFile, output: StageOutput) -> Mapping[str, Any]:
        """The maps' file."""
        file = output.write("mono_depth.npz", prediction.to_bytes(), "application/x-npz")
        return {
            "mono_depth": MonoDepth(
                file=file, relative_model=self._names.get("relative"), metric_model=self._names.get("metric")
            )
        }


def depth_stages(settings: AnnotationSettings) -> tuple[EstimateDepth, ...]:
    """The step, where the settings name a network.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    return (EstimateDepth(settings),) if settings.depth.has_network and settings.pose.model != "none" else ()
