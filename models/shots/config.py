"""Settings of shot detection."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import Settings


class ReferenceShotSettings(Settings):
    """Thresholds of SpatialVID's two detectors. The defaults are those of its scripts."""

    frame_skip: int = Field(2, ge=0, description="Frames left out between two processed ones.")
    longest_side_px: int = Field(256, ge=16, description="Longer side of the processed picture, pixels.")
    min_scene_len: int = Field(15, ge=0, description="Shortest distance of two cuts, source frames.")
    content_threshold: float = Field(
        21.0, gt=0.0, description="Content rule: smallest mean HSV difference of a cut, 8-bit levels."
    )
    adaptive_ratio: float = Field(
        3.0,
        gt=0.0,
        description="Adaptive rule: smallest ratio of a frame's difference to its neighbours' mean.",
    )
    adaptive_min_score: float = Field(
        15.0, ge=0.0, description="Adaptive rule: smallest mean difference of HSV value, 8-bit levels."
    )


class ShotSettings(Settings):
    """How shot boundaries are found."""

    mode: Literal["default", "reference", "whole"] = Field(
        "default",
        description="default: cuts, dissolves, fades on every frame; reference: the cuts of SpatialVID's scripts; "
        "whole: each video is one shot and one clip as it is, of any length, whatever analysis.clips says.",
    )
    min_change: float = Field(
        7.0, gt=0, description="default mode: smallest mean change of the thumbnail at a cut, 8-bit levels."
    )
    min_ratio: float = Field(
        2.2, gt=1, description="default mode: how much a cut's change must exceed its neighbours'."
    )
    reference: ReferenceShotSettings = Field(
        default_factory=ReferenceShotSettings, description="Only for mode=reference."
    )
