"""Dense optical flow between two frames, and what can be said of it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]


class FlowEngine:
    """Dense inverse search flow (Kroeger et al., 2016), in OpenCV's fast preset: about 10 ms at 640 x 360."""

    def __init__(self) -> None:
        self._engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def between(self, before: Gray, now: Gray, start: Map | None = None) -> Map:
        """(h, w, 2) float32: where each pixel of `before` has moved in `now`, in pixels; `start` is a first guess."""
        height, width = before.shape
        guess = np.zeros((height, width, 2), np.float32) if start is None else start
        return np.asarray(self._engine.calc(before, now, guess), np.float32)


def pixel_grid(height: int, width: int) -> tuple[Map, Map]:
    """(h, w) columns and rows of all pixels."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return columns, rows


def sample_along(values: Map, flow: Map, outside: float = 0.0) -> Map:
    """Values of another frame where the flow of each pixel leads to, bilinear; `outside` beyond the picture."""
    columns, rows = pixel_grid(*flow.shape[:2])
    border = (outside,) * 4
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    found = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(found, np.float32)


def length_of(flow: Map) -> Map:
    """(h, w) lengths of (h, w, 2) vectors."""
    return np.asarray(cv2.magnitude(flow[..., 0], flow[..., 1]), np.float32)
