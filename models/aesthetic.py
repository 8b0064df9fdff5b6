"""LAION's aesthetic predictor: a head on CLIP ViT-L/14 image embeddings (Radford et al. 2021).

The head (improved-aesthetic-predictor) has five linear layers without activations, so it is folded into one affine
map. Torch and open_clip are imported only when the model is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from core.arrays import Float32Array, Float64Array, UInt8Array
from core.settings import OPERATIONAL, Settings
from models.registry import WeightsError, resolve_weights
from models.registry.table import CLIP_VIT_L14, LAION_AESTHETIC_V2

EMBEDDING_SIZE = 768
INPUT_SIDE_PX = 224
MEAN_RGB = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD_RGB = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
# Index in the checkpoint's Sequential: (outputs, inputs). The indices between are dropout.
HEAD_LAYERS = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
ARCHITECTURE = "ViT-L-14-quickgelu"

NO_MODEL_REASON = (
    "no aesthetic model in this profile: set aesthetic.model=clip-l14-laion, aesthetic.encoder_uri and "
    "aesthetic.head_uri"
)
logger = logging.getLogger(__name__)


class AestheticSettings(Settings):
    """The aesthetic model, which scores sample images."""

    model: Literal["none", "clip-l14-laion"] = Field(
        "none",
        description="`none`: null with a reason; `clip-l14-laion`: CLIP ViT-L/14 with LAION's head.",
    )
    encoder_uri: str | None = Field(
        None, description="Path or URI of CLIP's ViT-L-14.pt.", json_schema_extra=OPERATIONAL
    )
    head_uri: str | None = Field(
        None, description="Path or URI of the head, sac+logos+ava1-l14-linearMSE.pth.", json_schema_extra=OPERATIONAL
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the encoder runs.", json_schema_extra=OPERATIONAL)
    precision: Literal["fp32", "fp16"] = Field("fp32", description="Number format of the encoder; fp16 is for GPUs.")
    batch_images: int = Field(
        48,
        ge=1,
        description="Images per forward pass on a GPU. On the CPU, where batches do not save time, it is 1.",
        json_schema_extra=OPERATIONAL,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineHead:
    """Affine score, weight . embedding + bias, of embeddings of length 1.

    `weight` is (768,) float64.
    """

    weight: Float64Array
    bias: float

    def score(self, embeddings: NDArray[np.floating[Any]]) -> Float64Array:
        """Scores (n,) of embeddings (n, 768) of any length above 0."""
        vectors = np.asarray(embeddings, np.float64)
        scores: Float64Array = vectors @ self.weight / np.linalg.norm(vectors, axis=1) + self.bias
        return scores


def fold_head(state: Mapping[str, NDArray[np.floating[Any]]]) -> AffineHead:
    """Folds the head's linear layers into one affine map, in float64.

    Args:
      state: `layers.<i>.weight` (outputs, inputs) and `layers.<i>.bias` (outputs,) for i in 0, 2, 4, 6, 7,
        and nothing else.

    Raises:
      WeightsError: if names or shapes differ.
    """
    shapes: dict[str, tuple[int, ...]] = {f"layers.{i}.weight": shape for i, shape in HEAD_LAYERS.items()}
    shapes |= {f"layers.{i}.bias": (shape[0],) for i, shape in HEAD_LAYERS.items()}
    found: dict[str, tuple[int, ...]] = {name: tuple(values.shape) for name, values in state.items()}
    if wrong := sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k)):
        raise WeightsError(
            f"not a head of {LAION_AESTHETIC_V2.model_id}: "
            + ", ".join(f"{k} is {found.get(k)}, expected {shapes.get(k)}" for k in wrong)
        )
    weight = np.eye(EMBEDDING_SIZE)
    bias = np.zeros(EMBEDDING_SIZE)
    for i in HEAD_LAYERS:
        layer = np.asarray(state[f"layers.{i}.weight"], np.float64)
        weight = layer @ weight
        bias = layer @ bias + np.asarray(state[f"layers.{i}.bias"], np.float64)
    return AffineHead(weight=weight[0], bias=float(bias[0]))


def preprocess_image(image_rgb_u8: UInt8Array) -> Float32Array:
    """CLIP's preprocessing: shorter side to 224 by Pillow's bicubic filter, center crop, normalization.

    Args:
      image_rgb_u8: (h, w, 3) uint8.

    Returns:
      (3, 224, 224) float32.

    Raises:
      ValueError: if the image has another shape or type.
    """
    shape = image_rgb_u8.shape
    if image_rgb_u8.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"expected an RGB image (h, w, 3) uint8, got {shape} {image_rgb_u8.dtype}")
    height, width = shape[:2]
    shorter = min(width, height)
    new_width, new_height = (INPUT_SIDE_PX * side // shorter for side in (width, height))
    image = Image.fromarray(image_rgb_u8)
    if (new_width, new_height) != (width, height):
        image = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    left, top = (round((side - INPUT_SIDE_PX) / 2.0) for side in (new_width, new_height))
    crop = np.asarray(image.crop((left, top, left + INPUT_SIDE_PX, top + INPUT_SIDE_PX)))
    scaled = (crop.astype(np.float32) / np.float32(255) - MEAN_RGB) / STD_RGB
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class ImageEncoder(Protocol):
    """Maps preprocessed images to embeddings."""

    def encode(self, pixels: Float32Array) -> Float32Array:
        """Embeddings (n, 768) of images (n, 3, 224, 224)."""


class ClipEncoder:
    """CLIP's image encoder (open_clip, torch). Thread-safe.

    Args:
      weights_path: TorchScript archive as OpenAI published it (`ViT-L-14.pt`); its text encoder is dropped.
      device: "cpu" or "cuda".
      precision: "fp32" or "fp16".
      batch_images: images per forward pass.
      architecture: open_clip's name of the model. The published weights need the QuickGELU variant.

    Raises:
      WeightsError: if torch or open_clip is missing, or the archive holds other tensors.
    """

    def __init__(
        self,
        weights_path: str,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        batch_images: int = 1,
        architecture: str = ARCHITECTURE,
    ) -> None:
        try:
            import open_clip
            import torch
        except ImportError as error:
            raise WeightsError(
                f"the aesthetic model needs torch and open_clip ({error}): install torch and "
                "open_clip_torch, or set aesthetic.model=none"
            ) from error
        self._torch = torch
        self._device = torch.device(device)
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._batch_images = batch_images
        self.halvings = 0
        state = torch.jit.load(weights_path, map_location="cpu").state_dict()
        tower = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
        visual = open_clip.create_model(architecture, precision=precision, device="cpu").visual
        try:
            visual.load_state_dict(tower, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{weights_path!r} does not fit {architecture}: {error}") from error
        self._visual = visual.eval().to(self._device)

    def encode(self, pixels: Float32Array) -> Float32Array:
        """Embeddings (n, 768) float32 of images (n, 3, 224, 224) float32.

        Every forward pass has the same batch size (the last batch is padded), so that an embedding does not depend on
        its batch. After an out-of-memory error the batch size is halved.
        """
        torch = self._torch
        parts: list[Float32Array] = []
        start = 0
        with torch.inference_mode():
            while start < len(pixels):
                size = self._batch_images
                chunk = pixels[start : start + size]
                filled = np.zeros((size, *pixels.shape[1:]), np.float32)
                filled[: len(chunk)] = chunk
                try:
                    batch = torch.from_numpy(filled).to(self._device, self._dtype)
                    parts.append(self._visual(batch)[: len(chunk)].float().cpu().numpy())
                except torch.OutOfMemoryError:
                    if size == 1:
                        raise
                    self._batch_images = size // 2
                    self.halvings += 1
                    logger.warning("out of memory on the GPU: batches of %d images from now on", self._batch_images)
                    continue
                start += len(chunk)
        return np.concatenate(parts) if parts else np.zeros((0, EMBEDDING_SIZE), np.float32)


def load_head(weights_path: str) -> AffineHead:
    """Loads and folds a head's checkpoint (a plain state dict; nothing in it is executed).

    Raises:
      WeightsError: if torch is missing or the file is not such a checkpoint.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"the aesthetic head needs torch ({error}): install torch, or set aesthetic.model=none"
        ) from error
    try:
        state = torch.load(weights_path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{weights_path!r} is not a plain state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{weights_path!r} holds a {type(state).__name__}, not a plain state dict")
    return fold_head({str(k): v.numpy() for k, v in state.items()})


class AestheticModel:
    """Aesthetic scores of images from an encoder and a head."""

    def __init__(self, encoder: ImageEncoder, head: AffineHead) -> None:
        self._encoder = encoder
        self._head = head

    def score_clips(
        self, clips_rgb_u8: Sequence[Sequence[UInt8Array]], source_sizes: Sequence[tuple[int, int]] = ()
    ) -> list[float]:
        """Mean score of the images of each clip, about 1 to 10.

        Images of all clips share the batches.

        Raises:
          ValueError: for an embedding without a direction.
        """
        if not clips_rgb_u8:
            return []
        pixels = [preprocess_image(image) for clip in clips_rgb_u8 for image in clip]
        scores = self._head.score(self._encoder.encode(np.stack(pixels)))
        ends = np.cumsum([len(clip) for clip in clips_rgb_u8])
        means = [float(np.mean(part)) for part in np.split(scores, ends[:-1])]
        if not np.isfinite(means).all():
            raise ValueError(f"the encoder gave embeddings without a direction, scores {scores.tolist()}")
        return means


def load_model(settings: AestheticSettings) -> AestheticModel:
    """Loads the model that the settings name.

    Raises:
      ValueError: if they name none.
      WeightsError: if weights or packages are missing.
    """
    if settings.model == "none":
        raise ValueError(NO_MODEL_REASON)
    head = load_head(resolve_weights(LAION_AESTHETIC_V2, settings.head_uri))
    encoder = ClipEncoder(
        resolve_weights(CLIP_VIT_L14, settings.encoder_uri),
        device=settings.device,
        precision=settings.precision,
        batch_images=settings.batch_images if settings.device == "cuda" else 1,
    )
    return AestheticModel(encoder, head)
