"""The monocular depth stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.annotations import MonoDepth
from core.records import ClipRecord, ClipStatus
from core.stage import StageContract
from models.annotation import AnnotationSettings
from models.depth.mono_depth import check_depth_models, chosen_models
from models.depth.mono_depth_file import MonoDepthFile
from storage.stage_output import StageOutput
from transforms.handlers.clips import ClipVideo
from transforms.handlers.depth import DepthHandler
from transforms.stage import ModelStage


class EstimateDepth(ModelStage[ClipRecord]):
    """Predicts monocular depth of the annotated frames, by the networks that `annotate.depth` names."""

    contract = StageContract(
        name="EstimateDepth",
        version=1,
        record=ClipRecord,
        reads=frozenset({"encoded"}),
        writes=frozenset({"mono_depth"}),
    )
    settings: AnnotationSettings
    settings_read = ("fps", "max_side_px", "depth")

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings
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
        on_gpu = self.settings.decoder == "nvdec"
        return DepthHandler(store_uri, self.settings.depth, fps, self.settings.max_side_px, on_gpu)

    @property
    def device(self) -> str:
        """Where the networks run."""
        return self.settings.depth.device

    def example(self, record: ClipRecord) -> ClipVideo:
        """The cut clip."""
        if record.encoded is None:
            raise ValueError(f"clip {record.clip_id} is kept but was not cut")
        return ClipVideo(clip_id=record.clip_id, video=record.encoded.video)

    def fields(self, record: ClipRecord, prediction: MonoDepthFile, output: StageOutput) -> Mapping[str, Any]:
        """The file of depth maps."""
        file = output.write("mono_depth.npz", prediction.to_bytes(), "application/x-npz")
        return {
            "mono_depth": MonoDepth(
                file=file, relative_model=self._names.get("relative"), metric_model=self._names.get("metric")
            )
        }


def depth_stages(settings: AnnotationSettings) -> tuple[EstimateDepth, ...]:
    """The stage, if the settings name a network.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    return (EstimateDepth(settings),) if settings.depth.has_network and settings.pose.model != "none" else ()
