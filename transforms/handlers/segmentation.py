"""ModelHandler of the segmentation network that refines dynamic masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from core.arrays import BoolArray, UInt8Array
from core.references import Ref
from models.segmentation.sam_refinement import MaskModel, load_mask_model
from models.segmentation.settings import MaskSettings
from models.segmentation.sky import drop_sky
from storage.shard_members import read_masks
from storage.store import Store
from transforms.handlers.clips import ClipVideo, FrameSource, group_by_bytes, stream_ahead
from transforms.handlers.device import in_turn

INPUT_SIDE_PX = 1024
CLIPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingClip(ClipVideo):
    """A clip with the dynamic masks of its annotated frames."""

    masks: Ref


@dataclass(frozen=True, slots=True)
class _Frame:
    rgb: UInt8Array
    is_moving: BoolArray


class MaskModels:
    """The loaded network, one per process, shared by its threads."""

    def __init__(self, model: MaskModel) -> None:
        self.model = model


class MaskHandler(ModelHandler[MovingClip, BoolArray, MaskModels]):
    """Refined dynamic masks of clips, batched over many clips.

    Frames are decoded ahead on threads.

    Memory holds the frames of one batch and some ahead, whatever the length of a clip; with mask propagation, all
    frames of one clip.

    Args:
      store_uri: root of the run's store.
      settings: the network.
      fps: annotated frames a second; None for every frame.
      decode_on_gpu: whether the GPU's decoder is used.
    """

    def __init__(self, store_uri: str, settings: MaskSettings, fps: float | None, decode_on_gpu: bool = False) -> None:
        super().__init__(min_batch_size=CLIPS_AT_ONCE if settings.device == "cuda" else 1, max_batch_size=CLIPS_AT_ONCE)
        self._source = FrameSource(store=Store(store_uri), fps=fps, max_side_px=INPUT_SIDE_PX, on_gpu=decode_on_gpu)
        self._settings = settings

    def load_model(self) -> MaskModels:
        """Loads the network.

        Raises:
          WeightsError: if weights or packages are missing.
        """
        return MaskModels(load_mask_model(self._settings))

    def run_inference(
        self, batch: Sequence[MovingClip], model: MaskModels, inference_args: dict[str, Any] | None = None
    ) -> list[BoolArray]:
        """(n, h, w) bool masks of each clip, at the size of its input masks.

        Raises:
          ItemError: if a clip cannot be read.
        """
        network = model.model
        before = network.halvings
        parts: list[list[BoolArray]] = [[] for _ in batch]
        frames = stream_ahead(self._read, batch, self._settings.decode_threads)
        for group in group_by_bytes(frames, _shape, _size_bytes, self._settings.batch_mib << 20):
            moving = np.stack([frame.is_moving for _, frame in group])
            refine = partial(network.refine, [frame.rgb for _, frame in group], moving)
            refined = in_turn(self._settings.device, refine)
            for (index, _), mask in zip(group, refined, strict=True):
                parts[index].append(mask)
        found = [np.stack(part) for part in parts]
        if self._settings.propagate:
            found = [self._propagate(network, example, masks) for example, masks in zip(batch, found, strict=True)]
        if halvings := network.halvings - before:
            Metrics.counter("SegmentDynamics", "batch_halvings").inc(halvings)
        return found

    def _propagate(self, network: MaskModel, example: MovingClip, masks: BoolArray) -> BoolArray:
        frames = self._source.load(example.video)
        return in_turn(self._settings.device, lambda: network.propagate(frames.rgb, masks))

    def get_num_bytes(self, batch: Sequence[MovingClip]) -> int:
        """Bytes of the cut clips."""
        return sum(example.video.size_bytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "masks"

    def _read(self, example: MovingClip) -> Iterator[_Frame]:
        is_moving = read_masks(self._source.store.read(example.masks))
        count = 0
        for count, frame in enumerate(self._source.read(example.video), 1):
            if count <= len(is_moving):
                mask = is_moving[count - 1]
                yield _Frame(frame.rgb, drop_sky(frame.rgb, mask) if self._settings.exclude_sky else mask)
        if count != len(is_moving):
            raise ValueError(f"clip {example.clip_id} has {len(is_moving)} masks for {count} frames")


def _shape(item: tuple[int, _Frame]) -> tuple[object, object]:
    return item[1].rgb.shape, item[1].is_moving.shape


def _size_bytes(item: tuple[int, _Frame]) -> int:
    return item[1].rgb.nbytes
