"""The score stages: models over sample images, for on-screen text and aesthetics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.records import ClipRecord, ClipStatus
from core.scores import AESTHETIC, TEXT_AREA, ImageScorer, Score, ScoreSpec
from core.settings import Settings
from core.stage import StageContract
from models import aesthetic
from models.aesthetic import NO_MODEL_REASON, AestheticSettings
from models.registry import ModelCard, resolve_model
from models.registry.table import CLIP_VIT_L14, LAION_AESTHETIC_V2, PPOCR_V6_SMALL_REC
from models.text.scorer import TextModel, TextSettings, check_detector, detector_card
from storage.stage_output import StageOutput
from transforms.handlers.images import ClipImages
from transforms.handlers.scores import ScoreHandler
from transforms.stage import ModelStage, Stage

NO_TEXT_MODEL_REASON = "no text model in this profile: set text.model=ppocrv6-small"


class ScoreImages(ModelStage[ClipRecord]):
    """Scores each clip that may still be kept by a model over its sample images.

    Args:
      spec: declaration of the score; names the stage.
      load_model: makes the model, once per worker.
      version: to be raised when scores change for equal images.
      settings: the model's settings, which the cache key follows.
      cards, digests: the models and their weights, as far as they have any.
      device: where the model runs.
      max_clips: most clips per batch.
    """

    def __init__(
        self,
        spec: ScoreSpec,
        load_model: Callable[[], ImageScorer],
        *,
        version: int = 1,
        settings: Settings | None = None,
        cards: tuple[ModelCard, ...] = (),
        digests: tuple[str, ...] = (),
        device: str = "cpu",
        max_clips: int = 8,
    ) -> None:
        self.contract = StageContract(
            name=spec.stage,
            version=version,
            record=ClipRecord,
            reads=frozenset({"samples", "width", "height"}),
            writes=frozenset({spec.field}),
        )
        self.settings = settings or Settings()
        self.cards, self.digests = cards, digests
        self._load_model, self._device, self._max_clips = load_model, device, max_clips

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self._device

    def applies(self, record: ClipRecord) -> bool:
        """Clips that no earlier stage rejected."""
        return record.status is ClipStatus.CANDIDATE

    def handler(self, store_uri: str) -> ModelHandler[Any, Any, Any]:
        """The model; scores name it by id and short digest."""
        name = f"{self.cards[0].model_id}@{self.digests[0][:16]}" if self.cards else None
        return ScoreHandler(
            store_uri, self._load_model, model_name=name, device=self._device, max_clips=self._max_clips
        )

    def example(self, record: ClipRecord) -> ClipImages:
        """The clip's sample images."""
        return ClipImages(
            clip_id=record.clip_id,
            images=tuple(sample.image for sample in record.samples),
            source_size=(record.width, record.height),
        )

    def fields(self, record: ClipRecord, prediction: Score, output: StageOutput) -> Mapping[str, Any]:
        """The score."""
        return dict.fromkeys(self.contract.writes, prediction)


class LeaveUnscored(Stage[ClipRecord]):
    """Replaces a model that the profile lacks: the score is null, with the reason."""

    def __init__(self, spec: ScoreSpec, reason: str) -> None:
        self.settings = Settings()
        self.contract = StageContract(
            name=spec.stage,
            version=1,
            record=ClipRecord,
            reads=frozenset(),
            writes=frozenset({spec.field}),
            cached=False,
        )
        self._reason = reason

    def describe(self) -> dict[str, Any]:
        """Reason why there is no model."""
        return {"reason": self._reason}

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """No score."""
        return dict.fromkeys(self.contract.writes, Score(value=None, reason=self._reason))


def text_stage(settings: TextSettings) -> ScoreImages | LeaveUnscored:
    """Share of the image under text, by a PP-OCR detector.

    Raises:
      WeightsError: if the detector's weights are missing.
    """
    if settings.model == "none":
        return LeaveUnscored(TEXT_AREA, NO_TEXT_MODEL_REASON)
    cards, digests = [detector_card(settings)], [check_detector(settings).digest]
    if settings.confirm_side_share is not None:
        cards.append(PPOCR_V6_SMALL_REC)
        digests.append(resolve_model(PPOCR_V6_SMALL_REC, settings.reader_uri).digest)
    return ScoreImages(
        TEXT_AREA,
        partial(TextModel, settings),
        version=2,
        settings=settings,
        cards=tuple(cards),
        digests=tuple(digests),
        device=settings.device,
    )


def aesthetic_stage(settings: AestheticSettings) -> ScoreImages | LeaveUnscored:
    """LAION's aesthetic score on CLIP ViT-L/14.

    16 clips of three images fill a forward pass of 48.

    Raises:
      WeightsError: if the model's weights are missing.
    """
    if settings.model == "none":
        return LeaveUnscored(AESTHETIC, NO_MODEL_REASON)
    cards, uris = (LAION_AESTHETIC_V2, CLIP_VIT_L14), (settings.head_uri, settings.encoder_uri)
    return ScoreImages(
        AESTHETIC,
        partial(aesthetic.load_model, settings),
        version=2,
        settings=settings,
        cards=cards,
        digests=tuple(resolve_model(card, uri).digest for card, uri in zip(cards, uris, strict=True)),
        device=settings.device,
        max_clips=16,
    )
