"""Pose estimators by name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Literal

from models.sfm.classical import estimate_poses
from models.sfm.colmap import ColmapEstimator, ColmapSettings
from models.sfm.estimate import PoseEstimate, PoseEstimator, PoseRequest, without_poses

PoseModel = Literal["classical", "colmap", "megasam", "none"]


def make_estimator(model: PoseModel, colmap: ColmapSettings) -> PoseEstimator:
    """Pose estimator by name.

    Raises:
      WeightsError: if its package is not installed.
      ValueError: for `none`.
    """
    if model == "none":
        raise ValueError("no pose estimator is chosen (annotate.pose.model=none)")
    if model == "classical":
        return estimate_poses
    if model == "megasam":
        # SLAM is a stage of its own; this is for clips that it does not take.
        return partial(without_poses, reason="a clip of one annotated frame cannot be tracked")
    estimator = ColmapEstimator(colmap)

    def estimate(request: PoseRequest) -> PoseEstimate:
        # COLMAP is deterministic with one thread only.
        return estimator(replace(request, num_threads=1))

    return estimate


def estimator_version(model: PoseModel, colmap: ColmapSettings) -> str | None:
    """Package version that poses depend on besides the settings, None without a package.

    Raises:
      WeightsError: if the package is not installed.
    """
    if model != "colmap":
        return None
    ColmapEstimator(colmap)
    return f"pycolmap {metadata.version('pycolmap')}"
