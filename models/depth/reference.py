"""Consistent video depth with the error of SpatialVID's code, for comparison."""

from __future__ import annotations

from models.depth.settings import ConsistencySettings


def single_step(settings: ConsistencySettings) -> ConsistencySettings:
    """Settings with one optimizer step per stage.

    In SpatialVID's code the step stands after the loop.
    """
    return settings.model_copy(update={"align_steps": 1, "refine_steps": 1})
