"""Text area: the share of a clip's sample images that text covers.

Detectors: PP-OCRv6-small by ONNX Runtime and PP-OCRv5's server detector by torch, both with the DBNet post-processing
of `models.text.boxes`; or PP-OCRv5's server detector by PaddleOCR, with its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from core.arrays import Float32Array, UInt8Array
from core.settings import OPERATIONAL, Settings
from models.networks.onnx_session import open_session
from models.registry import ModelCard, ResolvedModel, WeightsError, resolve_model, resolve_weights
from models.registry.table import (
    PPOCR_V5_SERVER_DET,
    PPOCR_V5_SERVER_DET_PADDLE,
    PPOCR_V6_SMALL_DET,
    PPOCR_V6_SMALL_REC,
)
from models.text.boxes import TextBoxes, covered_share, find_boxes
from models.text.recognition import TextRecognizer
from models.text.reference import source_area_ratio

# Normalization of the training (ImageNet's mean and standard deviation, applied to BGR).
MEAN_BGR = np.array([0.485, 0.456, 0.406], np.float32)
STD_BGR = np.array([0.229, 0.224, 0.225], np.float32)
STRIDE_PX = 32
MAX_SIDE_PX = 4000


class TextSettings(Settings):
    """Text detection in sample images, and the text area."""

    model: Literal["none", "ppocrv6-small", "ppocrv5-server", "ppocrv5-server-paddle"] = Field(
        "ppocrv6-small",
        description="`none`: null with a reason; `ppocrv6-small`: packaged PP-OCRv6 detector; `ppocrv5-server`: "
        "PP-OCRv5's server detector, as in SpatialVID, by transformers; `ppocrv5-server-paddle`: the same by "
        "PaddleOCR, where that is installed.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where PP-OCRv5's server detector runs.", json_schema_extra=OPERATIONAL
    )
    limit_side_len_px: int = Field(
        640,
        ge=STRIDE_PX,
        le=MAX_SIDE_PX,
        description="Side length in pixels that limit_type compares with. Time grows with its square.",
    )
    limit_type: Literal["max", "min"] = Field(
        "max",
        description="`max`: images whose longer side is above limit_side_len_px are scaled down to it; "
        "`min`: images whose shorter side is below it are scaled up (SpatialVID: 736).",
    )
    map_threshold: float = Field(0.3, gt=0, lt=1, description="Minimum probability of a text pixel.")
    box_threshold: float = Field(0.6, ge=0, le=1, description="Minimum mean probability of a text box.")
    unclip_ratio: float = Field(1.5, gt=0, description="Dilation of boxes by area x ratio / perimeter (DBNet).")
    max_boxes: int = Field(1000, ge=1, description="Maximum number of regions in an image.")
    confirm_side_share: float | None = Field(
        0.15,
        gt=0,
        le=1,
        description="Boxes whose shorter side is at least this share of the image's shorter side count "
        "only if a recognizer confirms them: the detector takes large single objects for characters. "
        "null: all boxes count.",
    )
    confirm_legibility: float = Field(
        0.48,
        ge=0,
        le=1,
        description="Minimum of the sum of character confidences / (characters + 1) of a large box: a single "
        "character needs a confidence of 0.96, two need 0.72 on average, many 0.48.",
    )
    parity: bool = Field(
        False,
        description="SpatialVID's text area: axis-aligned bounding boxes, overlaps counted twice, divided by the area "
        "of the source video instead of the analyzed image. SpatialVID's whole score also needs "
        "limit_type: min, limit_side_len_px: 736 and confirm_side_share: null.",
    )
    detector_uri: str | None = Field(
        None,
        description="Detector weights; null: those of package rapidocr. Of PP-OCRv5's the folder of its files.",
        json_schema_extra=OPERATIONAL,
    )
    reader_uri: str | None = Field(
        None, description="Recognizer weights; null: those of package rapidocr.", json_schema_extra=OPERATIONAL
    )


class TextModel:
    """Detects text and computes its area. Thread-safe.

    Raises:
      WeightsError: if a weights file is missing or not the registered one.
    """

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings
        self._area_ratio = source_area_ratio if settings.parity else _image_area_ratio
        self._detector = _load_detector(settings)
        self._reader: TextRecognizer | None = None
        if settings.confirm_side_share is not None:
            self._reader = TextRecognizer(resolve_weights(PPOCR_V6_SMALL_REC, settings.reader_uri))

    def find_text(self, image_rgb_u8: UInt8Array) -> TextBoxes:
        """Text boxes of an image, (h, w, 3) uint8, in its own pixels."""
        _check_image(image_rgb_u8)
        return self._confirm(image_rgb_u8, self._detector(image_rgb_u8))

    def text_share(self, image_rgb_u8: UInt8Array, source_size: tuple[int, int] | None = None) -> float:
        """Share of an image that text covers, 0 to 1.

        Area of the boxes' union over the image's area.

        With `text.parity`: `models.text.reference.source_area_ratio`.

        Args:
          image_rgb_u8: (h, w, 3) uint8.
          source_size: (width, height) of the source video in pixels; needed with `text.parity`.
        """
        image_size = (image_rgb_u8.shape[1], image_rgb_u8.shape[0])
        return self._area_ratio(self.find_text(image_rgb_u8).quads_px, image_size, source_size)

    def score_clips(
        self, clips_rgb_u8: Sequence[Sequence[UInt8Array]], source_sizes: Sequence[tuple[int, int]]
    ) -> list[float]:
        """Largest text share among the images of each clip."""
        return [
            max(self.text_share(image, size) for image in images)
            for images, size in zip(clips_rgb_u8, source_sizes, strict=True)
        ]

    def _confirm(self, image_rgb_u8: UInt8Array, boxes: TextBoxes) -> TextBoxes:
        least_share = self.settings.confirm_side_share
        if self._reader is None or least_share is None or not len(boxes):
            return boxes
        edges = boxes.quads_px - np.roll(boxes.quads_px, -1, axis=1)
        shorter_px = np.linalg.norm(edges, axis=2).min(axis=1)
        is_large = shorter_px >= least_share * min(image_rgb_u8.shape[:2])
        least = self.settings.confirm_legibility
        keep = [
            not large or self._reader.legibility(image_rgb_u8, quad) >= least
            for large, quad in zip(is_large, boxes.quads_px, strict=True)
        ]
        return boxes.select(np.array(keep))


def _image_area_ratio(quads_px: Float32Array, image_size: tuple[int, int], _: tuple[int, int] | None) -> float:
    return covered_share(quads_px, image_size)


class _MapDetector:
    """A network that gives a text probability map, with our DBNet post-processing."""

    def __init__(self, probability: Callable[[Float32Array], Float32Array], settings: TextSettings) -> None:
        self.probability = probability
        self._settings = settings

    def __call__(self, image_rgb_u8: UInt8Array) -> TextBoxes:
        height, width = image_rgb_u8.shape[:2]
        settings = self._settings
        size = detector_size((width, height), settings.limit_side_len_px, settings.limit_type)
        return find_boxes(
            self.probability(_to_input(image_rgb_u8, size)),
            (width, height),
            map_threshold=settings.map_threshold,
            box_threshold=settings.box_threshold,
            unclip_ratio=settings.unclip_ratio,
            max_boxes=settings.max_boxes,
        )


def detector_size(image_size: tuple[int, int], limit_px: int, limit_type: str) -> tuple[int, int]:
    """Input size (width, height) of the detector.

    Scaled to the limit, then to multiples of 32.

    The longer side never exceeds 4000 pixels.
    """
    width, height = image_size
    longer, shorter = max(image_size), min(image_size)
    scale = min(1.0, limit_px / longer) if limit_type == "max" else max(1.0, limit_px / shorter)
    scale = min(scale, MAX_SIDE_PX / longer)
    return _to_stride(width * scale), _to_stride(height * scale)


def detector_card(settings: TextSettings) -> ModelCard:
    """Model card of the detector that the settings name."""
    others = {"ppocrv5-server": PPOCR_V5_SERVER_DET, "ppocrv5-server-paddle": PPOCR_V5_SERVER_DET_PADDLE}
    return others.get(settings.model, PPOCR_V6_SMALL_DET)


def check_detector(settings: TextSettings) -> ResolvedModel:
    """The detector's files.

    Raises:
      WeightsError: if they or the packages that run them are missing. Says what to do.
    """
    needed = ("paddle", "paddleocr") if settings.model == "ppocrv5-server-paddle" else ()
    if lacking := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise WeightsError(
            f"text.model=ppocrv5-server-paddle needs {lacking}, which pin another OpenCV than this program: make an "
            "environment of its own (docs/models.md), or take text.model=ppocrv5-server"
        )
    return resolve_model(detector_card(settings), settings.detector_uri)


def _load_detector(settings: TextSettings) -> Callable[[UInt8Array], TextBoxes]:
    """Loads the detector: a function from an image to its text boxes."""
    found = check_detector(settings)
    if settings.model == "ppocrv5-server":
        from models.networks.text_detector import TextDetector

        return _MapDetector(TextDetector(found.paths, settings.device), settings)
    if settings.model == "ppocrv5-server-paddle":
        from models.text.paddle_ocr import PaddleDetector

        shared = {"limit_side_len_px", "limit_type", "map_threshold", "box_threshold", "unclip_ratio"}
        return PaddleDetector(found.paths, settings.device, **settings.model_dump(include=shared))
    session = open_session(found.paths[PPOCR_V6_SMALL_DET.file_name])
    name = session.get_inputs()[0].name
    return _MapDetector(lambda pixels: np.asarray(session.run(None, {name: pixels})[0][0, 0]), settings)


def _to_stride(length_px: float) -> int:
    return max(round(int(length_px) / STRIDE_PX) * STRIDE_PX, STRIDE_PX)


def _to_input(image_rgb_u8: UInt8Array, size: tuple[int, int]) -> Float32Array:
    bgr = cv2.resize(image_rgb_u8, size)[..., ::-1].astype(np.float32)
    bgr *= 1 / (255 * STD_BGR)
    bgr -= MEAN_BGR / STD_BGR
    return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None])


def _check_image(image: UInt8Array) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected an RGB image (h, w, 3) uint8, got {image.shape} {image.dtype}")
