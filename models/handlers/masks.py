"""Beam handler of the network that outlines moving things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from core.clip_files import read_masks
from core.store import Ref, Store
from media.clip_frames import ClipFrames
from models.handlers.clips import ClipVideo, decode_ahead, in_groups, load_frames
from models.masks.outline import MaskModel, load_mask_model
from models.masks.settings import MaskSettings

BoolArray = npt.NDArray[np.bool_]

INPUT_SIDE_PX = 1024
CLIPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingClip(ClipVideo):
    """A clip with the masks of what moves in its annotated frames."""

    masks: Ref


@dataclass(frozen=True, slots=True)
class _Loaded:
    frames: ClipFrames
    is_moving: BoolArray


class MaskModels:
    """The loaded network. RunInference keeps one a process and shares it between its threads."""

    def __init__(self, model: MaskModel) -> None:
        self.model = model


class MaskHandler(ModelHandler[MovingClip, BoolArray, MaskModels]):
    """Outlined masks of clips; frames of many clips share batches, clips are decoded ahead on threads.

    Args:
      store_uri: root of the run's store.
      settings: the network.
      fps: annotated frames a second; None for every frame.
    """

    def __init__(self, store_uri: str, settings: MaskSettings, fps: float | None) -> None:
        super().__init__(min_batch_size=CLIPS_AT_ONCE if settings.device == "cuda" else 1, max_batch_size=CLIPS_AT_ONCE)
        self._store = Store(store_uri)
        self._settings = settings
        self._fps = fps

    def load_model(self) -> MaskModels:
        """Loads the network.

        Raises:
          WeightsError: if weights or packages are missing.
        """
        return MaskModels(load_mask_model(self._settings))

    def run_inference(
        self, batch: Sequence[MovingClip], model: MaskModels, inference_args: dict[str, Any] | None = None
    ) -> list[BoolArray]:
        """(n, h, w) bool masks of each clip, at the size of the masks that it came with.

        Raises:
          ItemError: if a clip cannot be read.
        """
        network = model.model
        before = network.halvings
        found: list[BoolArray] = []
        clips = decode_ahead(self._load, batch, self._settings.decode_threads)
        for group in in_groups(clips, _shape, _size_bytes, self._settings.batch_mib << 20):
            outlined = network.outline(
                [frame for clip in group for frame in clip.frames.rgb],
                np.concatenate([clip.is_moving for clip in group]),
            )
            ends = np.cumsum([len(clip.is_moving) for clip in group])
            found += np.split(outlined, ends[:-1])
            if self._settings.propagate:
                found[-len(group) :] = [
                    network.carry(clip.frames.rgb, masks)
                    for clip, masks in zip(group, found[-len(group) :], strict=True)
                ]
        if halvings := network.halvings - before:
            Metrics.counter("OutlineMoving", "batch_halvings").inc(halvings)
        return found

    def get_num_bytes(self, batch: Sequence[MovingClip]) -> int:
        """Bytes of the cut clips."""
        return sum(example.video.size_bytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "masks"

    def _load(self, example: MovingClip) -> _Loaded:
        frames = load_frames(self._store, example.video, self._fps, INPUT_SIDE_PX)
        is_moving = read_masks(self._store.read_bytes(example.masks.path))
        if len(frames.rgb) != len(is_moving):
            raise ValueError(f"clip {example.clip_id} has {len(is_moving)} masks for {len(frames.rgb)} frames")
        return _Loaded(frames, is_moving)


def _shape(clip: _Loaded) -> tuple[tuple[int, int], tuple[int, ...]]:
    return clip.frames.size, clip.is_moving.shape[1:]


def _size_bytes(clip: _Loaded) -> int:
    return sum(frame.nbytes for frame in clip.frames.rgb)
