"""Dense optical flow by DIS (Kroeger et al. 2016), warping, and Lucas-Kanade point tracking."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, UInt8Array

LK_WINDOW_PX = 15
MAX_FORWARD_BACKWARD_PX = 0.7
FINE_PATCH_PX = 6
FINE_DESCENT_STEPS, FINE_SMOOTHING_STEPS = 8, 2
CACHE_MIB = 192
OUTSIDE_PX = 1e6


class DisFlow:
    """Dense inverse search (DIS) flow, Kroeger et al. 2016.

    Not thread-safe.

    OpenCV's fast preset computes it at a quarter of the resolution: about 10 ms at 640 x 360.

    Args:
      is_fine: full resolution and smaller patches instead: about 10 ms at 320 x 180.
    """

    def __init__(self, *, is_fine: bool = False) -> None:
        self._engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        if is_fine:
            self._engine.setFinestScale(0)
            self._engine.setPatchSize(FINE_PATCH_PX)
            self._engine.setGradientDescentIterations(FINE_DESCENT_STEPS)
            self._engine.setVariationalRefinementIterations(FINE_SMOOTHING_STEPS)

    def flow(self, before: UInt8Array, now: UInt8Array, start: Float32Array | None = None) -> Float32Array:
        """(h, w, 2) float32 flow from `before` to `now` in pixels.

        `start` is the initial flow.
        """
        height, width = before.shape
        initial = np.zeros((height, width, 2), np.float32) if start is None else start
        return np.asarray(self._engine.calc(before, now, initial), np.float32)


class FlowCache:
    """Thread-safe LRU cache of fine flow between frames of a clip.

    Flow is computed on first use.

    Its arrays are shared: callers must not change them.

    Args:
      gray: (h, w) uint8 frames.
      start: initial flow from one frame to another.
    """

    def __init__(self, gray: Sequence[UInt8Array], start: Callable[[int, int], Float32Array]) -> None:
        self._gray = gray
        self._start = start
        self._engines = threading.local()
        self._flows = _FlowLru((CACHE_MIB << 20) // (8 * gray[0].size))
        self._errors = _FlowLru((CACHE_MIB << 19) // (4 * gray[0].size))

    def flow(self, before: int, now: int) -> Float32Array:
        """(h, w, 2) float32 flow from one frame to another, in pixels."""
        return self._flows.get((before, now), lambda: self._compute(before, now))

    def forward_backward_px(self, before: int, now: int) -> Float32Array:
        """(h, w) float32 forward-backward error in pixels; large where the flow leaves the image."""

        def compute() -> Float32Array:
            flow, back = self.flow(before, now), self.flow(now, before)
            return flow_magnitude(warp(back, flow, outside=OUTSIDE_PX) + flow)

        return self._errors.get((before, now), compute)

    def _compute(self, before: int, now: int) -> Float32Array:
        if not hasattr(self._engines, "own"):
            self._engines.own = DisFlow(is_fine=True)
        engine: DisFlow = self._engines.own
        return engine.flow(self._gray[before], self._gray[now], self._start(before, now))


class _FlowLru:
    """LRU cache of maps by pair of frames."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max(8, max_count)
        self._lock = threading.Lock()
        self._maps: OrderedDict[tuple[int, int], Future[Float32Array]] = OrderedDict()

    def get(self, key: tuple[int, int], compute: Callable[[], Float32Array]) -> Float32Array:
        with self._lock:
            future = self._maps.get(key)
            is_missing = future is None
            future = future or Future()
            self._maps[key] = future
            self._maps.move_to_end(key)
            if len(self._maps) > self._max_count:
                self._maps.popitem(last=False)
        if is_missing:
            try:
                future.set_result(compute())
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def pixel_coordinates(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """(h, w) columns and rows of all pixels; on the device see `models.networks.pixels.pixel_grid`."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return columns, rows


def warp(values: Float32Array, flow: Float32Array, outside: float = 0.0) -> Float32Array:
    """Values of another frame warped by the flow to it, bilinear; `outside` beyond the image."""
    columns, rows = pixel_coordinates(*flow.shape[:2])
    border = (outside,) * 4
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    warped = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(warped, np.float32)


def flow_magnitude(flow: Float32Array) -> Float32Array:
    """(h, w) lengths of (h, w, 2) vectors."""
    return np.asarray(cv2.magnitude(flow[..., 0], flow[..., 1]), np.float32)


def track_points_lk(
    before: UInt8Array, now: UInt8Array, at: Float32Array, guess: Float32Array, levels: int
) -> tuple[Float32Array, BoolArray]:
    """Points tracked to another frame by pyramidal Lucas-Kanade, and whether they are forward-backward consistent.

    Args:
      before, now: (h, w) uint8 frames.
      at: (k, 2) float32 x and y in `before`.
      guess: (k, 2) float32 initial positions in `now`.
      levels: image pyramid levels above the full size.

    Returns:
      (k, 2) float32 positions in `now`, and (k,) bool.
    """
    tracked, ok = _lucas_kanade(before, now, at, guess, levels)
    # Backward tracking starts at its expected end: a wrong match drifts away from there, so no pyramid is needed.
    backward, ok_back = _lucas_kanade(now, before, tracked, at, 0)
    return tracked, ok & ok_back & (np.linalg.norm(backward - at, axis=1) < MAX_FORWARD_BACKWARD_PX)


def _lucas_kanade(
    before: UInt8Array, now: UInt8Array, at: Float32Array, guess: Float32Array, levels: int
) -> tuple[Float32Array, BoolArray]:
    tracked, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        now,
        at.reshape(-1, 1, 2),
        guess.reshape(-1, 1, 2).copy(),
        winSize=(LK_WINDOW_PX, LK_WINDOW_PX),
        maxLevel=levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-4,
    )
    return np.asarray(tracked, np.float32).reshape(-1, 2), status.reshape(-1) > 0
