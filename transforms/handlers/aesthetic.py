"""ModelHandler of the aesthetic score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from models.aesthetic import AestheticModel, AestheticScore, AestheticSettings, load_model
from storage.store import Store
from transforms.handlers.device import in_turn
from transforms.handlers.images import ClipImages, load_images, total_bytes

AestheticExample = ClipImages


class AestheticHandler(ModelHandler[AestheticExample, AestheticScore, AestheticModel]):
    """Aesthetic scores of clips, from their sample images in the store; images of many clips share batches.

    Args:
      store_uri: root of the run's store.
      settings: the model; must not be `none` (a stage without a model gives null and `NO_MODEL_REASON`).
      max_batch_size: most clips per batch. 16 clips of three images fill one forward pass of 48 images.

    Raises:
      ValueError: if the settings name no model.
    """

    def __init__(self, store_uri: str, settings: AestheticSettings, max_batch_size: int = 16) -> None:
        if settings.model == "none":
            raise ValueError("aesthetic.model is none: there is nothing to run")
        # A GPU wants full batches; they still end with the bundle, so the lower bound never waits.
        super().__init__(
            min_batch_size=max_batch_size if settings.device == "cuda" else 1, max_batch_size=max_batch_size
        )
        self._store = Store(store_uri)
        self._settings = settings

    def load_model(self) -> AestheticModel:
        """Loads encoder and head.

        Raises:
          WeightsError: if weights or packages are missing.
        """
        return load_model(self._settings)

    def run_inference(
        self,
        batch: Sequence[AestheticExample],
        model: AestheticModel,
        inference_args: dict[str, Any] | None = None,
    ) -> list[AestheticScore]:
        """Scores in the order of the batch.

        Raises:
          ItemError: if any image of the batch cannot be read; all are read before the encoder starts.
        """
        before = model.halvings
        images = [load_images(self._store, example) for example in batch]
        scores = in_turn(self._settings.device, lambda: model.score_clips(images))
        if halvings := model.halvings - before:
            Metrics.counter("ScoreAesthetic", "batch_halvings").inc(halvings)
        return scores

    def get_num_bytes(self, batch: Sequence[AestheticExample]) -> int:
        """Bytes of the JPEGs."""
        return total_bytes(batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "aesthetic"
