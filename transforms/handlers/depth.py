"""ModelHandler of the monocular depth networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from core.arrays import UInt8Array
from core.failures import ItemError
from media.clip_frames import ClipFrame
from models.annotation.files import map_size
from models.depth.mono_depth import DepthKind, DepthModel, FrameDepths, load_depth_models
from models.depth.mono_depth_file import MonoDepthFile
from models.depth.settings import DepthSettings
from storage.store import Store
from transforms.handlers.clips import ClipVideo, FrameSource, check_memory, group_by_bytes, stream_ahead
from transforms.handlers.device import in_turn


class DepthModels:
    """The loaded networks, one set per process, shared by its threads."""

    def __init__(self, models: Sequence[DepthModel]) -> None:
        self.models = tuple(models)


class DepthHandler(ModelHandler[ClipVideo, MonoDepthFile, DepthModels]):
    """Monocular depth of clips, batched over many clips.

    Frames are decoded ahead on threads.

    Memory holds the frames of one batch and some ahead, whatever the length of a clip.

    Args:
      store_uri: root of the run's store.
      settings: the networks; at least one.
      fps: annotated frames a second; None for every frame.
      max_side_px: longest side of the maps.
      decode_on_gpu: whether the GPU's decoder is used.
    """

    def __init__(
        self,
        store_uri: str,
        settings: DepthSettings,
        fps: float | None,
        max_side_px: int,
        decode_on_gpu: bool = False,
    ) -> None:
        at_once = settings.clips_at_once
        # A GPU wants full batches; they still end with the bundle, so the lower bound never waits.
        super().__init__(min_batch_size=at_once if settings.device == "cuda" else 1, max_batch_size=at_once)
        self._source = FrameSource(
            store=Store(store_uri), fps=fps, max_side_px=settings.input_max_side_px, on_gpu=decode_on_gpu
        )
        self._settings = settings
        self._max_side_px = max_side_px

    def load_model(self) -> DepthModels:
        """Loads the networks.

        Raises:
          WeightsError: if weights or packages are missing.
        """
        return DepthModels(load_depth_models(self._settings))

    def run_inference(
        self, batch: Sequence[ClipVideo], model: DepthModels, inference_args: dict[str, Any] | None = None
    ) -> list[MonoDepthFile]:
        """Depth maps in the order of the batch.

        Raises:
          ItemError: if a clip cannot be read, or a map is not finite.
        """
        settings = self._settings
        found = [MonoDepthFile() for _ in batch]
        before = sum(network.halvings for network in model.models)
        frames = stream_ahead(lambda clip: self._source.read(clip.video), batch, settings.decode_threads)
        for group in group_by_bytes(frames, _shape, _size_bytes, settings.batch_mib << 20):
            predicted = in_turn(settings.device, partial(self._predict, [frame.rgb for _, frame in group], model))
            if not all(np.isfinite(depths.maps).all() for depths in predicted.values()):
                raise ItemError(
                    "DepthNotFinite",
                    f"a depth network gave values that are no numbers for clip {batch[group[0][0]].clip_id}.",
                    "set annotate.depth.precision=bf16 or fp32.",
                )
            start = 0
            for index, own in groupby(group, lambda item: item[0]):
                frame = np.array([each.index for _, each in own], np.int64)
                part = slice(start, start + len(frame))
                found[index].add({kind: depths.part(part) for kind, depths in predicted.items()}, frame)
                check_memory(found[index].num_bytes, "depth maps", batch[index].video)
                start = part.stop
        if halvings := sum(network.halvings for network in model.models) - before:
            Metrics.counter("EstimateDepth", "batch_halvings").inc(halvings)
        return found

    def get_num_bytes(self, batch: Sequence[ClipVideo]) -> int:
        """Bytes of the cut clips."""
        return sum(example.video.size_bytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "depth"

    def _predict(self, rgb: Sequence[UInt8Array], model: DepthModels) -> dict[DepthKind, FrameDepths]:
        """Depth maps of frames of one size."""
        size = map_size((rgb[0].shape[1], rgb[0].shape[0]), self._max_side_px)
        return {network.kind: network.predict(rgb, size) for network in model.models}


def _shape(item: tuple[int, ClipFrame]) -> tuple[int, ...]:
    return item[1].rgb.shape


def _size_bytes(item: tuple[int, ClipFrame]) -> int:
    return item[1].rgb.nbytes
