"""Beam handler of every model that scores clips by their sample images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.scores import ImageScorer, Score
from storage.store import Store
from transforms.handlers.device import in_turn
from transforms.handlers.images import ClipImages, load_images, total_bytes

NO_IMAGES_REASON = "the clip has no sample images"


class ScoreHandler(ModelHandler[ClipImages, Score, ImageScorer]):
    """Scores of clips, from their sample images in the store.

    Args:
      store_uri: root of the run's store.
      load_model: makes the model, once per worker.
      model_name: what `Score.model` says.
      device: where the model runs. A GPU gets full batches; they still end with the bundle, so that none waits.
      max_clips: most clips per batch, whose decoded images are in memory together.
    """

    def __init__(
        self,
        store_uri: str,
        load_model: Callable[[], ImageScorer],
        *,
        model_name: str | None = None,
        device: str = "cpu",
        max_clips: int = 8,
    ) -> None:
        super().__init__(min_batch_size=max_clips if device == "cuda" else 1, max_batch_size=max_clips)
        self._store = Store(store_uri)
        self._load_model = load_model
        self._model_name = model_name
        self._device = device

    def load_model(self) -> ImageScorer:
        """The model. Raises WeightsError if weights or packages are missing."""
        return self._load_model()

    def run_inference(
        self, batch: Sequence[ClipImages], model: ImageScorer, inference_args: dict[str, Any] | None = None
    ) -> list[Score]:
        """Scores in the order of the batch.

        Raises:
          ItemError: if any image of the batch cannot be read. All are read before the model starts, so that a bad one
            costs its batch no time of the model.
        """
        images = {i: load_images(self._store, example) for i, example in enumerate(batch) if example.images}
        sizes = [batch[i].source_size for i in images]
        values = in_turn(self._device, lambda: model.score_clips(list(images.values()), sizes)) if images else ()
        found = dict(zip(images, values, strict=True))
        return [
            Score(value=found.get(i), reason=None if i in found else NO_IMAGES_REASON, model=self._model_name)
            for i in range(len(batch))
        ]

    def get_num_bytes(self, batch: Sequence[ClipImages]) -> int:
        """Bytes of the JPEGs."""
        return total_bytes(batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "scores"
