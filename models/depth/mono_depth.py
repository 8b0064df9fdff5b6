"""Depth that networks see in single frames: what they answer, whatever is inside."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from models.depth.settings import DepthSettings
from models.registry import ModelCard, ResolvedModel, WeightsError, resolve_model
from models.registry.table import DEPTH_ANYTHING_V2_LARGE, MOGE_2_VITL, UNIDEPTH_V2_VITL14

DepthKind = Literal["relative", "metric"]
DEPTH_KINDS: tuple[DepthKind, ...] = ("relative", "metric")
CARDS = {card.model_id: card for card in (DEPTH_ANYTHING_V2_LARGE, MOGE_2_VITL, UNIDEPTH_V2_VITL14)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDepths:
    """What a network sees in frames.

    Attributes:
      maps: (n, h, w) float32 at the asked size. Of a relative network inverse depth, up to scale and shift; of a
        metric one z-depth in meters.
      is_valid: (n, h, w) bool: where the network gives a depth (the sky has none).
      focal_px: (n,) float64 focal length in pixels of the maps, NaN where the network sees none.
    """

    maps: Float32Array
    is_valid: BoolArray
    focal_px: Float64Array

    def part(self, frames: slice) -> FrameDepths:
        """What is seen in some of the frames."""
        return FrameDepths(maps=self.maps[frames], is_valid=self.is_valid[frames], focal_px=self.focal_px[frames])


class DepthModel(Protocol):
    """A network that sees depth in single frames. Safe to use from several threads."""

    kind: DepthKind

    @property
    def halvings(self) -> int:
        """How often memory ran out, so that the batch was halved."""

    def predict(self, frames_rgb_u8: Sequence[UInt8Array], size: tuple[int, int]) -> FrameDepths:
        """Depths of frames.

        Args:
          frames_rgb_u8: (h, w, 3) uint8 each, all of one size; of as many clips as one likes.
          size: (width, height) of the maps.
        """


def chosen_models(settings: DepthSettings) -> tuple[tuple[DepthKind, ModelCard, str | None], ...]:
    """The networks that the settings name, with the place that they name for their weights."""
    named: tuple[tuple[DepthKind, str, str | None], ...] = (
        ("relative", settings.relative, settings.relative_uri),
        ("metric", settings.metric, settings.metric_uri),
    )
    return tuple((kind, CARDS[model], uri) for kind, model, uri in named if model != "none")


def check_depth_models(settings: DepthSettings) -> dict[DepthKind, ResolvedModel]:
    """Weights of the networks that the settings name, found and verified, before anything runs.

    Raises:
      WeightsError: if weights or packages are missing.
    """
    found = {kind: resolve_model(card, uri) for kind, card, uri in chosen_models(settings)}
    needed = {"torch"} | ({"unidepth"} if settings.metric == UNIDEPTH_V2_VITL14.model_id else set())
    if found and (missing := sorted(name for name in needed if importlib.util.find_spec(name) is None)):
        raise WeightsError(
            f"annotate.depth needs the package {' and '.join(missing)}: install torch by "
            "`pip install 'spatialbeam[models]'`, unidepth from its repository, or set "
            "annotate.depth.metric=moge-2-vitl, which needs none."
        )
    return found


def load_depth_models(settings: DepthSettings) -> list[DepthModel]:
    """Loads the networks that the settings name, relative first.

    Raises:
      WeightsError: what `check_depth_models` raises; if weights do not fit.
    """
    found = check_depth_models(settings)
    models: list[DepthModel] = []
    for kind, card, _ in chosen_models(settings):
        paths = found[kind].paths
        if card is DEPTH_ANYTHING_V2_LARGE:
            from models.depth.depth_anything import load_depth_anything

            models.append(load_depth_anything(paths[card.file_name], settings))
        elif card is MOGE_2_VITL:
            from models.depth.moge import load_moge

            models.append(load_moge(paths[card.file_name], settings))
        else:
            from models.depth.unidepth import load_unidepth

            models.append(load_unidepth(paths, settings))
    return models
