"""PP-OCRv5's text detector run by PaddleOCR, from local files: nothing is downloaded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from threading import Lock
from typing import Any, Literal

import numpy as np

from core.arrays import UInt8Array
from models.text.boxes import TextBoxes

MODEL_NAME = "PP-OCRv5_server_det"
# Without it paddlex contacts four model hosts before it reads the local folder.
OFFLINE = "PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"


class PaddleDetector:
    """PaddleOCR's detector with its pre- and post-processing. Thread-safe; calls run one at a time.

    Args:
      paths: files of PaddleOCR's inference format, by name.
      device: device of the detector.
      limit_side_len_px, limit_type, map_threshold, box_threshold, unclip_ratio: as in `models.text.scorer`.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        device: Literal["cpu", "cuda"],
        *,
        limit_side_len_px: int,
        limit_type: str,
        map_threshold: float,
        box_threshold: float,
        unclip_ratio: float,
    ) -> None:
        os.environ.setdefault(OFFLINE, "True")
        from paddleocr import TextDetection

        self._lock = Lock()
        # PaddleOCR expects a folder with the original file names; cached copies have others.
        with tempfile.TemporaryDirectory(prefix="spatialbeam-paddle-") as folder:
            for name, path in paths.items():
                os.symlink(os.path.abspath(path), os.path.join(folder, name))
            self._model: Any = TextDetection(
                model_name=MODEL_NAME,
                model_dir=folder,
                device="gpu:0" if device == "cuda" else "cpu",
                limit_side_len=limit_side_len_px,
                limit_type=limit_type,
                thresh=map_threshold,
                box_thresh=box_threshold,
                unclip_ratio=unclip_ratio,
            )

    def __call__(self, image_rgb_u8: UInt8Array) -> TextBoxes:
        """Text boxes of an image, (h, w, 3) uint8."""
        bgr = np.ascontiguousarray(image_rgb_u8[..., ::-1])
        with self._lock:
            (found,) = self._model.predict(bgr)
        quads = np.asarray(found["dt_polys"], np.float32).reshape(-1, 4, 2)
        return TextBoxes(quads_px=quads, scores=np.asarray(found["dt_scores"], np.float64).reshape(-1))
