"""Beam handler of the networks that see depth in single frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from core.failures import ItemError
from core.store import Store
from media.clip_frames import ClipFrames
from models.annotation.files import map_size
from models.depth.prior import DepthKind, DepthModel, FrameDepths, load_depth_models
from models.depth.settings import DepthSettings
from models.handlers.clips import ClipVideo, decode_ahead, in_groups, load_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipDepths:
    """What the networks see in a clip: `depths` by kind, and the index in the clip of each frame."""

    depths: dict[DepthKind, FrameDepths]
    frame: npt.NDArray[np.int64]


class DepthModels:
    """The loaded networks. RunInference keeps one a process and shares it between its threads."""

    def __init__(self, models: Sequence[DepthModel]) -> None:
        self.models = tuple(models)


class DepthHandler(ModelHandler[ClipVideo, ClipDepths, DepthModels]):
    """Depths of clips' frames; frames of many clips share batches, clips are decoded ahead on threads.

    Args:
      store_uri: root of the run's store.
      settings: the networks; at least one.
      fps: annotated frames a second; None for every frame.
      max_side_px: longest side of the maps.
    """

    def __init__(self, store_uri: str, settings: DepthSettings, fps: float | None, max_side_px: int) -> None:
        at_once = settings.clips_at_once
        # A GPU wants full batches; they still end with the bundle, so the lower bound never waits.
        super().__init__(min_batch_size=at_once if settings.device == "cuda" else 1, max_batch_size=at_once)
        self._store = Store(store_uri)
        self._settings = settings
        self._fps = fps
        self._max_side_px = max_side_px

    def load_model(self) -> DepthModels:
        """Loads the networks.

        Raises:
          WeightsError: if weights or packages are missing.
        """
        return DepthModels(load_depth_models(self._settings))

    def run_inference(
        self, batch: Sequence[ClipVideo], model: DepthModels, inference_args: dict[str, Any] | None = None
    ) -> list[ClipDepths]:
        """Depths in the order of the batch.

        Raises:
          ItemError: if a clip cannot be read, or a network gives what is no number.
        """
        settings = self._settings
        clips = decode_ahead(self._load, batch, settings.decode_threads)
        found: list[ClipDepths] = []
        before = sum(network.halvings for network in model.models)
        for group in in_groups(clips, _shape, _size_bytes, settings.batch_mib << 20):
            found += self._see(group, model)
        if halvings := sum(network.halvings for network in model.models) - before:
            Metrics.counter("EstimateDepth", "batch_halvings").inc(halvings)
        for example, clip in zip(batch, found, strict=True):
            if not all(np.isfinite(depths.maps).all() for depths in clip.depths.values()):
                raise ItemError(
                    "DepthNotFinite",
                    f"a depth network gave values that are no numbers for clip {example.clip_id}.",
                    "set annotate.depth.precision=bf16 or fp32.",
                )
        return found

    def get_num_bytes(self, batch: Sequence[ClipVideo]) -> int:
        """Bytes of the cut clips."""
        return sum(example.video.size_bytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "depth"

    def _load(self, example: ClipVideo) -> ClipFrames:
        return load_frames(self._store, example.video, self._fps, self._settings.input_max_side_px)

    def _see(self, group: Sequence[ClipFrames], model: DepthModels) -> list[ClipDepths]:
        """Depths of clips of one size."""
        frames = [frame for clip in group for frame in clip.rgb]
        size = map_size(group[0].size, self._max_side_px)
        seen = {network.kind: network.predict(frames, size) for network in model.models}
        results = []
        start = 0
        for clip in group:
            part = slice(start, start + len(clip.rgb))
            results.append(
                ClipDepths(depths={kind: depths.part(part) for kind, depths in seen.items()}, frame=clip.frame)
            )
            start = part.stop
        return results


def _shape(clip: ClipFrames) -> tuple[int, int]:
    return clip.size


def _size_bytes(clip: ClipFrames) -> int:
    return sum(frame.nbytes for frame in clip.rgb)
