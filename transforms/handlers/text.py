"""ModelHandler of the text area score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from models.text.scorer import TextModel, TextScore, TextSettings
from storage.store import Store
from transforms.handlers.device import in_turn
from transforms.handlers.images import ClipImages, load_images, total_bytes

TextExample = ClipImages


class TextAreaHandler(ModelHandler[TextExample, TextScore, TextModel]):
    """Text area of clips, from their sample images in the store.

    Args:
      store_uri: root of the run's store.
      settings: how text is found and measured.
      max_batch_size: most clips per batch. The detector takes images one by one (batches save no time
        on a CPU), so this only bounds memory: a batch holds its decoded images.
    """

    def __init__(self, store_uri: str, settings: TextSettings, max_batch_size: int = 8) -> None:
        super().__init__(min_batch_size=1, max_batch_size=max_batch_size)
        self._store = Store(store_uri)
        self._settings = settings

    def load_model(self) -> TextModel:
        """Opens the detector.

        Raises:
          WeightsError: if its weights are missing or not the registered ones.
        """
        return TextModel(self._settings)

    def run_inference(
        self,
        batch: Sequence[TextExample],
        model: TextModel,
        inference_args: dict[str, Any] | None = None,
    ) -> list[TextScore]:
        """Scores in the order of the batch.

        Raises:
          ItemError: if any image of the batch cannot be read. All are read before the detector starts, so
            that a bad one costs its batch no detector time.
        """
        images = [load_images(self._store, example) for example in batch]

        def score() -> list[TextScore]:
            return [model.score_clip(rgb, example.source_size) for example, rgb in zip(batch, images, strict=True)]

        return in_turn(self._settings.device, score)

    def get_num_bytes(self, batch: Sequence[TextExample]) -> int:
        """Bytes of the JPEGs."""
        return total_bytes(batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "text_area"
