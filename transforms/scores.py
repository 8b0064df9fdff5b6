"""The steps whose scores come from models that look at sample images: on-screen text and aesthetics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.records import ClipRecord, ClipStatus
from core.scores import AESTHETIC, TEXT_AREA, Score, ScoreSpec
from core.settings import Settings
from core.stage import StageContract
from models.aesthetic import NO_MODEL_REASON, AestheticScore, AestheticSettings
from models.registry import (
    CLIP_VIT_L14,
    LAION_AESTHETIC_V2,
    PPOCR_V6_SMALL_REC,
    resolve_model,
)
from models.text.scorer import TextScore, TextSettings, check_detector, detector_card
from storage.stage_output import StageOutput
from transforms.handlers.aesthetic import AestheticHandler
from transforms.handlers.images import ClipImages
from transforms.handlers.text import TextAreaHandler
from transforms.stage import ModelStage, Stage

NO_TEXT_MODEL_REASON = "no text model in this profile: set text.model=ppocrv6-small"


def _contract(spec: ScoreSpec) -> StageContract:
    return StageContract(
        name=spec.stage,
        version=2,
        record=ClipRecord,
        reads=frozenset({"samples", "width", "height"}),
        writes=frozenset({spec.field}),
    )


class _ImageStage(ModelStage[ClipRecord]):
    """A model over a clip's sample images, for clips that no earlier step rejected."""

    @property
    def model_name(self) -> str:
        """Id and short digest of the model, as the output names it."""
        return f"{self.cards[0].model_id}@{self.digests[0][:16]}"

    def applies(self, record: ClipRecord) -> bool:
        """Clips that may still be kept."""
        return record.status is ClipStatus.CANDIDATE

    def example(self, record: ClipRecord) -> ClipImages:
        """The clip's sample images."""
        return ClipImages(
            clip_id=record.clip_id,
            images=tuple(sample.image for sample in record.samples),
            source_size=(record.width, record.height),
        )


class ScoreText(_ImageStage):
    """Share of the picture under text, by a PP-OCR detector."""

    contract = _contract(TEXT_AREA)
    settings: TextSettings

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings
        confirms = settings.confirm_side_share is not None
        detector = detector_card(settings)
        self.cards = (detector, PPOCR_V6_SMALL_REC) if confirms else (detector,)
        reader = [resolve_model(PPOCR_V6_SMALL_REC, settings.reader_uri).digest] if confirms else []
        self.digests = (check_detector(settings).digest, *reader)

    @property
    def device(self) -> str:
        """Where the detector runs."""
        return self.settings.device

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The detector."""
        return TextAreaHandler(store_uri, self.settings)

    def fields(self, record: ClipRecord, prediction: TextScore, output: StageOutput) -> Mapping[str, Any]:
        """Score, or why there is none."""
        return {TEXT_AREA.field: Score(value=prediction.score, reason=prediction.reason, model=self.model_name)}


class ScoreAesthetic(_ImageStage):
    """LAION's aesthetic score on CLIP ViT-L/14."""

    contract = _contract(AESTHETIC)
    settings: AestheticSettings
    cards = (LAION_AESTHETIC_V2, CLIP_VIT_L14)

    def __init__(self, settings: AestheticSettings) -> None:
        self.settings = settings
        uris = (settings.head_uri, settings.encoder_uri)
        self.digests = tuple(resolve_model(card, uri).digest for card, uri in zip(self.cards, uris, strict=True))

    @property
    def device(self) -> str:
        """Where the encoder runs."""
        return self.settings.device

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """Encoder and head."""
        return AestheticHandler(store_uri, self.settings)

    def fields(self, record: ClipRecord, prediction: AestheticScore, output: StageOutput) -> Mapping[str, Any]:
        """Score, or why there is none."""
        return {AESTHETIC.field: Score(value=prediction.score, reason=prediction.reason, model=self.model_name)}


class LeaveUnscored(Stage[ClipRecord]):
    """Stands in for a model that the profile does not have: null, and the reason."""

    def __init__(self, contract: StageContract, settings: Settings, reason: str) -> None:
        self.settings = settings
        self.reason = reason
        self.contract = StageContract(
            name=contract.name,
            version=contract.version,
            record=ClipRecord,
            reads=frozenset(),
            writes=contract.writes,
            cached=False,
        )

    def describe(self) -> dict[str, Any]:
        """Why there is no model."""
        return {"reason": self.reason}

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """No score."""
        return {field: Score(value=None, reason=self.reason) for field in self.contract.writes}


def text_stage(settings: TextSettings) -> ScoreText | LeaveUnscored:
    """The step that scores on-screen text, as the settings want it.

    Raises:
      WeightsError: if the detector's weights are missing.
    """
    if settings.model == "none":
        return LeaveUnscored(ScoreText.contract, settings, NO_TEXT_MODEL_REASON)
    return ScoreText(settings)


def aesthetic_stage(settings: AestheticSettings) -> ScoreAesthetic | LeaveUnscored:
    """The step that scores aesthetics, as the settings want it.

    Raises:
      WeightsError: if the model's weights are missing.
    """
    if settings.model == "none":
        return LeaveUnscored(ScoreAesthetic.contract, settings, NO_MODEL_REASON)
    return ScoreAesthetic(settings)
