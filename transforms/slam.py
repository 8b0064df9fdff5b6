"""The SLAM stage: MegaSaM's tracker with consistent depth (Li et al. 2025)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.annotations import TrackedCamera
from core.records import ClipRecord, ClipStatus
from core.stage import StageContract
from models.annotation import AnnotationSettings
from models.registry import WeightsError, resolve_model
from models.registry.table import MEGASAM, RAFT_THINGS
from models.slam.tracked_frames import TrackedFrames
from storage.stage_output import StageOutput
from transforms.annotation import known_intrinsics
from transforms.handlers.clips import ClipVideo
from transforms.handlers.slam import TrackExample, TrackingHandler
from transforms.stage import ModelStage


class TrackCameras(ModelStage[ClipRecord]):
    """Tracks the cameras of many cut clips at once and optimizes their depth for consistency."""

    contract = StageContract(
        name="TrackCameras",
        version=2,
        record=ClipRecord,
        reads=frozenset({"encoded", "extra", "width", "height", "mono_depth"}),
        writes=frozenset({"tracked"}),
    )
    cards = (MEGASAM, RAFT_THINGS)
    settings: AnnotationSettings
    settings_read = ("fps", "max_side_px", "intrinsics", "pose.megasam.tracker", "pose.megasam.consistency")

    def __init__(self, settings: AnnotationSettings) -> None:
        self.settings = settings
        self._megasam = settings.pose.megasam
        if importlib.util.find_spec("torch") is None:
            raise WeightsError("annotate.pose.model=megasam needs torch: `pip install 'spatialbeam[models]'`.")
        uris = (self._megasam.uri, self._megasam.flow_uri)
        self.digests = tuple(resolve_model(card, uri).digest for card, uri in zip(self.cards, uris, strict=True))

    def applies(self, record: ClipRecord) -> bool:
        """Only kept clips are annotated."""
        return record.status is ClipStatus.KEPT

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The tracker."""
        fps = None if self.settings.fps == "source" else float(self.settings.fps)
        settings = (self._megasam, fps, self.settings.max_side_px, self.settings.intrinsics)
        return TrackingHandler(store_uri, *settings, self.settings.decoder == "nvdec")

    @property
    def device(self) -> str:
        """Where the networks run."""
        return self._megasam.device

    def example(self, record: ClipRecord) -> TrackExample:
        """The cut clip, its monocular depth, and its intrinsics if the manifest states them."""
        if record.encoded is None or record.mono_depth is None:
            raise ValueError(f"clip {record.clip_id} is kept but was not cut, or has no monocular depth")
        return TrackExample(
            clip=ClipVideo(clip_id=record.clip_id, video=record.encoded.video),
            mono_depth=record.mono_depth.file,
            known=known_intrinsics(record.extra),
            known_size=(record.width, record.height),
        )

    def fields(self, record: ClipRecord, prediction: TrackedFrames | None, output: StageOutput) -> Mapping[str, Any]:
        """The file of poses, intrinsics and depth; None for a clip of one frame."""
        if prediction is None:
            return {"tracked": None}
        file = output.write("tracked.npz", prediction.to_bytes(), "application/x-npz")
        return {"tracked": TrackedCamera(file=file, model=f"{MEGASAM.model_id}@{self.digests[0][:16]}")}


def tracking_stages(settings: AnnotationSettings) -> tuple[TrackCameras, ...]:
    """The stage, if the settings name the tracker.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    return (TrackCameras(settings),) if settings.pose.model == "megasam" else ()
