"""ModelHandler of a local vision-language model that writes captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from core.records import ClipRecord
from models.captions.captioner import Captioners, CaptionResult, caption_clips
from models.captions.draft import MeasuredClip
from models.captions.local import LocalChatModel
from models.captions.measure import read_caption_input
from models.captions.settings import CaptionSettings
from storage.store import Store


class CaptionHandler(ModelHandler[ClipRecord, tuple[CaptionResult, MeasuredClip], LocalChatModel]):
    """Captions of clips, from their cut clips and annotation in the store.

    Args:
      store_uri: root of the run's store.
      settings: the model and its input frames.
    """

    def __init__(self, store_uri: str, settings: CaptionSettings) -> None:
        # A GPU wants full batches; they still end with the bundle, so the lower bound never waits.
        most = settings.transformers.batch_size
        super().__init__(min_batch_size=most if settings.transformers.device == "cuda" else 1, max_batch_size=most)
        self._store = Store(store_uri)
        self._settings = settings

    def load_model(self) -> LocalChatModel:
        """Loads the model."""
        return LocalChatModel(self._settings.transformers)

    def run_inference(
        self, batch: Sequence[ClipRecord], model: LocalChatModel, inference_args: dict[str, Any] | None = None
    ) -> list[tuple[CaptionResult, MeasuredClip]]:
        """Captions in the order of the batch.

        Raises:
          ItemError: if a clip cannot be read.
        """
        room = self._settings.transformers.max_output_tokens
        captioners = Captioners(
            vision=model,
            text=model,
            vision_tokens=room,
            text_tokens=room,
            max_repairs=self._settings.calls.max_repairs,
        )
        clips = [read_caption_input(record, self._settings.frames, self._store) for record in batch]
        return list(zip(caption_clips(clips, captioners), (clip.measured for clip in clips), strict=True))

    def get_num_bytes(self, batch: Sequence[ClipRecord]) -> int:
        """Bytes of the cut clips."""
        return sum(record.encoded.video.size_bytes for record in batch if record.encoded)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "captions"
