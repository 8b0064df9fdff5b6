"""ModelHandler of the SLAM tracker: many clips at once, from their frames and monocular depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from apache_beam.ml.inference.base import ModelHandler

from core.references import Ref
from models.depth.mono_depth_file import MonoDepths
from models.registry import resolve_weights
from models.registry.table import MEGASAM, RAFT_THINGS
from models.sfm.estimate import Intrinsics, IntrinsicsMode
from models.slam.settings import MegasamSettings
from models.slam.tracked_frames import TrackedFrames
from storage.store import Store
from transforms.handlers.clips import ClipVideo, FrameSource, decode_ahead, group_by_bytes
from transforms.handlers.device import in_turn

GROUP_BYTES = 1 << 29
"""Most bytes of decoded frames of clips that are tracked together; on a GPU they need 70 times as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackExample:
    """A cut clip, its monocular depth, and its intrinsics if known.

    Intrinsics are in pixels of `known_size` (width, height).
    """

    clip: ClipVideo
    mono_depth: Ref
    known: Intrinsics | None
    known_size: tuple[int, int]


class TrackingModel:
    """The loaded networks, one set per process, shared by its threads."""

    def __init__(self, settings: MegasamSettings) -> None:
        import torch

        from models.flow.raft import load_raft
        from models.slam.network import load_tracking_network as load_tracker

        # The first optimizer makes a circular import inside torch, which two threads must not do at once.
        torch.optim.Adam([torch.zeros(1)])
        self.tracker = load_tracker(resolve_weights(MEGASAM, settings.uri), settings.device)
        self.raft = load_raft(resolve_weights(RAFT_THINGS, settings.flow_uri), settings.device)


class TrackingHandler(ModelHandler[TrackExample, TrackedFrames | None, TrackingModel]):
    """Poses, intrinsics and depth of clips.

    Clips of one size are tracked together. None for a single frame.

    Args:
      store_uri: root of the run's store.
      settings: the tracker's settings.
      fps: annotated frames a second; None for every frame.
      max_side_px: longest side of the annotated frames.
      intrinsics: how known intrinsics are used.
      decode_on_gpu: whether the GPU's decoder is used.
    """

    def __init__(
        self,
        store_uri: str,
        settings: MegasamSettings,
        fps: float | None,
        max_side_px: int,
        intrinsics: Literal["fix", "refine", "estimate"],
        decode_on_gpu: bool = False,
    ) -> None:
        at_once = settings.clips_at_once
        # A GPU wants full batches; they still end with the bundle, so the lower bound never waits.
        super().__init__(min_batch_size=at_once if settings.device == "cuda" else 1, max_batch_size=at_once)
        self._source = FrameSource(store=Store(store_uri), fps=fps, max_side_px=max_side_px, on_gpu=decode_on_gpu)
        self._settings = settings
        self._intrinsics: IntrinsicsMode = intrinsics

    def load_model(self) -> TrackingModel:
        """Loads the networks.

        Raises:
          WeightsError: if weights are missing.
        """
        return TrackingModel(self._settings)

    def run_inference(
        self, batch: Sequence[TrackExample], model: TrackingModel, inference_args: dict[str, Any] | None = None
    ) -> list[TrackedFrames | None]:
        """Results in the order of the batch.

        Raises:
          ItemError: if a clip cannot be read.
        """
        from models.slam.clips import ClipWithMonoDepth, PreparedClip, prepare_clip, run_networks

        def load(example: TrackExample) -> PreparedClip | None:
            frames = self._source.load(example.clip.video)
            if len(frames.rgb) < 2:
                return None
            mono_depth = MonoDepths.read(self._source.store.read(example.mono_depth)).of_frames(
                frames.frame, frames.size
            )
            known = None if self._intrinsics == "estimate" else example.known
            clip = ClipWithMonoDepth(
                rgb=frames.rgb,
                frame=frames.frame,
                time_s=frames.time_s,
                intrinsics=None if known is None else known.resized(example.known_size, frames.size),
                fix_focal=known is not None and self._intrinsics == "fix",
                relative=mono_depth.get("relative"),
                metric=mono_depth.get("metric"),
            )
            return prepare_clip(clip)

        def kind(item: tuple[int, PreparedClip]) -> object:
            return item[1].size

        found: list[TrackedFrames | None] = [None] * len(batch)
        loaded = enumerate(decode_ahead(load, batch, self._settings.decode_threads))
        clips = ((index, clip) for index, clip in loaded if clip is not None)
        for group in group_by_bytes(clips, kind, lambda item: item[1].slam_input.images.nbytes, GROUP_BYTES):
            slam_inputs = [clip.slam_input for _, clip in group]
            run = partial(run_networks, model.tracker, model.raft, slam_inputs, self._settings)
            for (index, clip), answer in zip(group, in_turn(self._settings.device, run), strict=True):
                found[index] = clip.finish(*answer)
        return found

    def get_num_bytes(self, batch: Sequence[TrackExample]) -> int:
        """Bytes of the cut clips."""
        return sum(example.clip.video.size_bytes for example in batch)

    def get_metrics_namespace(self) -> str:
        """Namespace of this model's metrics."""
        return "tracking"
