"""Monocular depth: the interface of its networks and their registry."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from models.depth.settings import DepthSettings
from models.registry import ModelCard, ResolvedModel, WeightsError, get_card, resolve_model

DepthKind = Literal["relative", "metric"]
DEPTH_KINDS: tuple[DepthKind, ...] = ("relative", "metric")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDepths:
    """Monocular depth of frames.

    Attributes:
      maps: (n, h, w) float32. Inverse depth up to scale and shift of a relative network; z-depth in meters of a
        metric one.
      is_valid: (n, h, w) bool: where the network predicts a depth (the sky has none).
      focal_px: (n,) float64 focal length in pixels of the maps, NaN where the network predicts none.
    """

    maps: Float32Array
    is_valid: BoolArray
    focal_px: Float64Array

    def part(self, frames: slice) -> FrameDepths:
        """The depth of some of the frames."""
        return FrameDepths(maps=self.maps[frames], is_valid=self.is_valid[frames], focal_px=self.focal_px[frames])


class DepthModel(Protocol):
    """A monocular depth network. Safe to use from several threads."""

    kind: DepthKind

    @property
    def halvings(self) -> int:
        """Number of batches that were halved because memory ran out."""

    def predict(self, frames_rgb_u8: Sequence[UInt8Array], size: tuple[int, int]) -> FrameDepths:
        """Depth maps of frames.

        Args:
          frames_rgb_u8: (h, w, 3) uint8 each, all of one size; of any number of clips.
          size: (width, height) of the maps.
        """


class LoadDepthModel(Protocol):
    """The function that a registry row names as its `loader`."""

    def __call__(self, paths: Mapping[str, str], settings: DepthSettings) -> DepthModel:
        """Loads the network.

        Args:
          paths: local path of each weights file, by file name.
          settings: device, precision and batches.

        Raises:
          WeightsError: if the weights do not fit, or a package is missing.
        """


def chosen_models(settings: DepthSettings) -> tuple[tuple[DepthKind, ModelCard, str | None], ...]:
    """Kind, registry row and weights URI of each network that the settings name, relative first."""
    named: tuple[tuple[DepthKind, str, str | None], ...] = (
        ("relative", settings.relative, settings.relative_uri),
        ("metric", settings.metric, settings.metric_uri),
    )
    return tuple((kind, get_card(model), uri) for kind, model, uri in named if model != "none")


def check_depth_models(settings: DepthSettings) -> dict[DepthKind, ResolvedModel]:
    """Verified weights of the networks that the settings name, before anything runs.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    chosen = chosen_models(settings)
    found = {kind: resolve_model(card, uri) for kind, card, uri in chosen}
    for kind, card, _ in chosen:
        if missing := [name for name in ("torch", *card.packages) if importlib.util.find_spec(name) is None]:
            raise WeightsError(
                f"annotate.depth.{kind}={card.model_id} needs the package {' and '.join(missing)}: install torch by "
                f"`pip install 'spatialbeam[models]'`. {card.notes}".rstrip()
            )
    return found


def load_depth_models(settings: DepthSettings) -> list[DepthModel]:
    """Loads the networks that the settings name, relative first.

    Raises:
      WeightsError: what `check_depth_models` raises; if weights do not fit.
    """
    found = check_depth_models(settings)
    return [_loader(card)(found[kind].paths, settings) for kind, card, _ in chosen_models(settings)]


def _loader(card: ModelCard) -> LoadDepthModel:
    """The function behind `module:function` of a registry row, imported when it is needed."""
    module, _, function = card.loader.partition(":")
    load: LoadDepthModel = getattr(importlib.import_module(module), function)
    return load
