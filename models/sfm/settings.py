"""Which pose estimator is used, and how it is made."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Literal

from pydantic import Field

from core.settings import Settings
from models.sfm.classical import estimate_poses
from models.sfm.colmap import ColmapEstimator, ColmapSettings
from models.sfm.estimate import PoseEstimate, PoseEstimator, PoseRequest, without_poses
from models.slam.settings import MegasamSettings


class PoseSettings(Settings):
    """Camera poses."""

    model: Literal["classical", "colmap", "megasam", "none"] = Field(
        "classical",
        description="classical: tracked corners and bundle adjustment, without weights. colmap: the package pycolmap "
        "(pip install 'spatialbeam[colmap]'), many times slower; knows no camera that stands still or only turns. "
        "megasam: MegaSaM's network, flow and consistent depth, on a GPU; needs its weights and annotate.depth. "
        "none: clips are not annotated.",
    )
    colmap: ColmapSettings = Field(default_factory=ColmapSettings, description="How COLMAP is used.")
    megasam: MegasamSettings = Field(default_factory=MegasamSettings, description="How MegaSaM's chain is used.")


def make_estimator(settings: PoseSettings) -> PoseEstimator:
    """The pose estimator that the settings name.

    Raises:
      WeightsError: if its package is not installed.
      ValueError: if they name none.
    """
    if settings.model == "none":
        raise ValueError("no pose estimator is chosen (annotate.pose.model=none)")
    if settings.model == "classical":
        return estimate_poses
    if settings.model == "megasam":
        # Tracking is a step of its own; this answers for clips that it could not take.
        return partial(without_poses, reason="a clip of one annotated frame cannot be tracked")
    colmap = ColmapEstimator(settings.colmap)

    def estimate(request: PoseRequest) -> PoseEstimate:
        # With more threads, equal clips would not have equal poses.
        return colmap(replace(request, num_threads=1))

    return estimate


def estimator_version(settings: PoseSettings) -> str | None:
    """What beside the settings decides the poses: the version of a package that finds them.

    Raises:
      WeightsError: if the package is not installed.
    """
    if settings.model != "colmap":
        return None
    ColmapEstimator(settings.colmap)
    return f"pycolmap {metadata.version('pycolmap')}"
