"""Dense optical flow between two frames, and what can be said of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import cv2
import numpy as np

from core.arrays import BoolArray, Float32Array, UInt8Array

LK_WINDOW_PX = 15
MAX_RETURN_ERROR_PX = 0.7
FINE_PATCH_PX = 6
FINE_DESCENT_STEPS, FINE_SMOOTHING_STEPS = 8, 2
KEPT_MIB = 192
OUTSIDE_PX = 1e6


class DisFlow:
    """Dense inverse search flow (Kroeger et al., 2016). Not to be used by two threads at once.

    In OpenCV's fast preset the field has a quarter of the frames' resolution: about 10 ms at 640 x 360.

    Args:
      is_fine: at full resolution instead, with smaller patches: about 10 ms at 320 x 180.
    """

    def __init__(self, *, is_fine: bool = False) -> None:
        self._engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        if is_fine:
            self._engine.setFinestScale(0)
            self._engine.setPatchSize(FINE_PATCH_PX)
            self._engine.setGradientDescentIterations(FINE_DESCENT_STEPS)
            self._engine.setVariationalRefinementIterations(FINE_SMOOTHING_STEPS)

    def flow(self, before: UInt8Array, now: UInt8Array, start: Float32Array | None = None) -> Float32Array:
        """(h, w, 2) float32: where each pixel of `before` has moved in `now`, in pixels; `start` is a first guess."""
        height, width = before.shape
        guess = np.zeros((height, width, 2), np.float32) if start is None else start
        return np.asarray(self._engine.calc(before, now, guess), np.float32)


class FlowCache:
    """Fine flow between any two frames of a clip: found when first asked for, by any thread, and kept for a while.

    Its arrays are shared and not to be changed.

    Args:
      gray: (h, w) uint8 frames.
      start: the first guess of the flow from one frame to another.
    """

    def __init__(self, gray: Sequence[UInt8Array], start: Callable[[int, int], Float32Array]) -> None:
        self._gray = gray
        self._start = start
        self._engines = threading.local()
        self._flows = _Kept((KEPT_MIB << 20) // (8 * gray[0].size))
        self._returns = _Kept((KEPT_MIB << 19) // (4 * gray[0].size))

    def flow(self, before: int, now: int) -> Float32Array:
        """(h, w, 2) float32: where each pixel of one frame has moved in another, in pixels."""
        return self._flows.get((before, now), lambda: self._compute(before, now))

    def forward_backward_px(self, before: int, now: int) -> Float32Array:
        """(h, w) float32: how far from itself a pixel gets by the flow and the one back; far if outside."""

        def compute() -> Float32Array:
            flow, back = self.flow(before, now), self.flow(now, before)
            return flow_magnitude(warp(back, flow, outside=OUTSIDE_PX) + flow)

        return self._returns.get((before, now), compute)

    def _compute(self, before: int, now: int) -> Float32Array:
        if not hasattr(self._engines, "own"):
            self._engines.own = DisFlow(is_fine=True)
        engine: DisFlow = self._engines.own
        return engine.flow(self._gray[before], self._gray[now], self._start(before, now))


class _Kept:
    """Maps by pair of frames, each computed once by whoever asks first; the least recently asked for go."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max(8, max_count)
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[int, int], Future[Float32Array]] = OrderedDict()

    def get(self, key: tuple[int, int], compute: Callable[[], Float32Array]) -> Float32Array:
        with self._lock:
            found = self._found.get(key)
            is_mine = found is None
            found = found or Future()
            self._found[key] = found
            self._found.move_to_end(key)
            if len(self._found) > self._max_count:
                self._found.popitem(last=False)
        if is_mine:
            try:
                found.set_result(compute())
            except BaseException as error:
                found.set_exception(error)
        return found.result()


def pixel_coordinates(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """(h, w) columns and rows of all pixels."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return columns, rows


def warp(values: Float32Array, flow: Float32Array, outside: float = 0.0) -> Float32Array:
    """Values of another frame where the flow of each pixel leads to, bilinear; `outside` beyond the picture."""
    columns, rows = pixel_coordinates(*flow.shape[:2])
    border = (outside,) * 4
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    found = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(found, np.float32)


def flow_magnitude(flow: Float32Array) -> Float32Array:
    """(h, w) lengths of (h, w, 2) vectors."""
    return np.asarray(cv2.magnitude(flow[..., 0], flow[..., 1]), np.float32)


def track_points_lk(
    before: UInt8Array, now: UInt8Array, at: Float32Array, guess: Float32Array, levels: int
) -> tuple[Float32Array, BoolArray]:
    """Places of points in the next frame by Lucas-Kanade, and whether each is found and finds the way back.

    Args:
      before, now: (h, w) uint8 frames.
      at: (k, 2) float32 x and y in `before`.
      guess: (k, 2) float32 where to begin in `now`.
      levels: of the picture pyramid above the full size.

    Returns:
      (k, 2) float32 places in `now`, and (k,) bool.
    """
    found, ok = _lucas_kanade(before, now, at, guess, levels)
    # The way back begins where it should end: a point at a wrong place does not stay there, and that needs no search.
    returned, ok_back = _lucas_kanade(now, before, found, at, 0)
    return found, ok & ok_back & (np.linalg.norm(returned - at, axis=1) < MAX_RETURN_ERROR_PX)


def _lucas_kanade(
    before: UInt8Array, now: UInt8Array, at: Float32Array, guess: Float32Array, levels: int
) -> tuple[Float32Array, BoolArray]:
    found, status, _ = cv2.calcOpticalFlowPyrLK(
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
    return np.asarray(found, np.float32).reshape(-1, 2), status.reshape(-1) > 0
