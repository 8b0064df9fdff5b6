"""The stage that refines dynamic masks by a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.arrays import BoolArray
from core.records import ClipRecord, ClipStatus
from core.stage import StageContract
from models.annotation import AnnotationSettings
from models.registry.table import SAM_21_LARGE
from models.segmentation.sam_refinement import check_mask_model
from storage.shard_members import masks_bytes
from storage.stage_output import StageOutput
from transforms.handlers.segmentation import MaskHandler, MovingClip
from transforms.stage import ModelStage


class SegmentDynamics(ModelStage[ClipRecord]):
    """Replaces each moving region by the segment of the object that it lies on."""

    contract = StageContract(
        name="SegmentDynamics",
        version=1,
        record=ClipRecord,
        reads=frozenset({"encoded", "geometry"}),
        writes=frozenset({"geometry"}),
    )
    settings: AnnotationSettings
    settings_read = ("fps", "masks")
    cards = (SAM_21_LARGE,)

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings
        self.digests = (check_mask_model(settings.masks).digest,)

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self.settings.masks.device

    def applies(self, record: ClipRecord) -> bool:
        """Only clips with dynamic masks that are not empty."""
        geometry = record.geometry
        return (
            record.status is ClipStatus.KEPT
            and geometry is not None
            and geometry.masks is not None
            and bool(geometry.dynamic_ratio)
        )

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The network."""
        fps = None if self.settings.fps == "source" else float(self.settings.fps)
        return MaskHandler(store_uri, self.settings.masks, fps, self.settings.decoder == "nvdec")

    def example(self, record: ClipRecord) -> MovingClip:
        """The cut clip and its dynamic masks."""
        if record.encoded is None or record.geometry is None or record.geometry.masks is None:
            raise ValueError(f"clip {record.clip_id} has no masks")
        return MovingClip(clip_id=record.clip_id, video=record.encoded.video, masks=record.geometry.masks)

    def fields(self, record: ClipRecord, prediction: BoolArray, output: StageOutput) -> Mapping[str, Any]:
        """The annotation with the refined masks."""
        if record.geometry is None:
            raise ValueError(f"clip {record.clip_id} has no masks")
        masks = output.write("dyn_masks.npz", masks_bytes(prediction), "application/x-npz")
        changed = replace(
            record.geometry,
            masks=masks,
            masks_model=f"{SAM_21_LARGE.model_id}@{self.digests[0][:16]}",
            dynamic_ratio=float(prediction.mean()),
        )
        return {"geometry": changed}


def mask_stages(settings: AnnotationSettings) -> tuple[SegmentDynamics, ...]:
    """The stage, if the settings name a network.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    wanted = settings.masks.model != "residual-motion" and settings.pose.model != "none"
    return (SegmentDynamics(settings),) if wanted else ()
