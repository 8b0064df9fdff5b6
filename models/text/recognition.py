"""Legibility of large text boxes: confidence of a text recognizer in them.

A text detector takes a single object that fills the image (an animal, a drawing) for one huge character; low
recognition confidence exposes such false positives. The recognized text is discarded.
"""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime

from core.arrays import Float32Array, UInt8Array
from models.networks.onnx_session import open_session

INPUT_HEIGHT_PX = 48
INPUT_WIDTH_PX = 320
UPRIGHT_RATIO = 1.5
BLANK = 0


class TextRecognizer:
    """PP-OCR text recognizer with a CTC head, used for its confidence only.

    CTC: Graves et al. 2006.

    Args:
      weights_path: ONNX file that maps (n, 3, 48, w) to (n, t, classes) probabilities, class 0 blank.
    """

    def __init__(self, weights_path: str) -> None:
        self._session: onnxruntime.InferenceSession = open_session(weights_path)
        self._input = self._session.get_inputs()[0].name

    def legibility(self, image_rgb_u8: UInt8Array, quad_px: Float32Array) -> float:
        """Recognition confidence of a box, 0 to 1.

        Sum of character confidences / (characters + 1).

        The added 1 demands more confidence of few characters than of many (a single one reaches 0.5 at most): among
        thousands of classes some character resembles any shape. The better of both reading directions along the
        longer side counts. Of a long line only the middle is recognized, so every box costs the same.

        Args:
          image_rgb_u8: (h, w, 3) uint8.
          quad_px: (4, 2) corners in pixels, clockwise.
        """
        line = _cut_line(image_rgb_u8, quad_px)
        return max(self._confidence(line), self._confidence(line[::-1, ::-1]))

    def _confidence(self, line_rgb_u8: UInt8Array) -> float:
        pixels = np.zeros((1, 3, INPUT_HEIGHT_PX, INPUT_WIDTH_PX), np.float32)
        width = line_rgb_u8.shape[1]
        pixels[0, :, :, :width] = line_rgb_u8[..., ::-1].transpose(2, 0, 1) / np.float32(127.5) - 1.0
        (steps,) = self._session.run(None, {self._input: pixels})[0]
        best = steps.argmax(axis=1)
        is_character = best != BLANK
        is_character[1:] &= best[1:] != best[:-1]
        return float(steps.max(axis=1)[is_character].sum() / (is_character.sum() + 1))


def _cut_line(image_rgb_u8: UInt8Array, quad_px: Float32Array) -> UInt8Array:
    """Box rectified to the recognizer's input height, cropped at the middle to its input width."""
    along, down = (float(np.linalg.norm(quad_px[i] - quad_px[j])) for i, j in ((0, 1), (0, 3)))
    width, height = max(round(along), 1), max(round(down), 1)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad_px.astype(np.float32), target)
    line = cv2.warpPerspective(image_rgb_u8, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if height >= UPRIGHT_RATIO * width:
        line = np.rot90(line)
    height, width = line.shape[:2]
    keep = min(width, max(round(height * INPUT_WIDTH_PX / INPUT_HEIGHT_PX), 1))
    line = line[:, (width - keep) // 2 :][:, :keep]
    new_width = min(max(round(keep * INPUT_HEIGHT_PX / height), 1), INPUT_WIDTH_PX)
    resized = cv2.resize(np.ascontiguousarray(line), (new_width, INPUT_HEIGHT_PX))
    return np.asarray(resized, np.uint8)
