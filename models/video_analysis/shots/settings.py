"""Settings of shot detection."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings


class ReferenceShotSettings(Settings):
    """Thresholds of SpatialVID's two detectors. The defaults are those of its scripts."""

    frame_skip: int = Field(2, ge=0, description="Frames skipped between two processed ones.")
    longest_side_px: int = Field(256, ge=16, description="Longer side of the processed frame, pixels.")
    min_scene_len: int = Field(15, ge=0, description="Minimum distance of two cuts, source frames.")
    content_threshold: float = Field(
        21.0, gt=0.0, description="Content rule: minimum mean HSV difference of a cut, 8-bit levels."
    )
    adaptive_ratio: float = Field(
        3.0,
        gt=0.0,
        description="Adaptive rule: minimum ratio of a frame's difference to its neighbors' mean.",
    )
    adaptive_min_score: float = Field(
        15.0, ge=0.0, description="Adaptive rule: minimum mean difference of HSV value, 8-bit levels."
    )


class TransNetSettings(Settings):
    """The network TransNetV2 (extra `shots`), with the weights of its package."""

    device: Literal["cpu", "cuda"] = Field("cpu", description="Where it runs.", json_schema_extra=OPERATIONAL)
    threshold: float = Field(0.5, gt=0, lt=1, description="Minimum probability of a transition.")
    batch_windows: int = Field(
        4,
        ge=1,
        le=256,
        description="Windows of 100 frames, each 50 frames on, that go through the network at a time.",
        json_schema_extra=OPERATIONAL,
    )


class ShotSettings(Settings):
    """Shot boundary detection."""

    mode: Literal["default", "reference", "transnetv2", "whole"] = Field(
        "default",
        description="default: cuts, dissolves, fades on every frame; reference: the cuts of SpatialVID's scripts; "
        "transnetv2: the network of that name, far slower, for material on which the default errs; "
        "whole: each video is one shot and one clip as it is, of any length, whatever analysis.clips says.",
    )
    min_change: float = Field(
        7.0, gt=0, description="default mode: minimum mean difference of thumbnails at a cut, 8-bit levels."
    )
    min_ratio: float = Field(
        2.2, gt=1, description="default mode: minimum ratio of a cut to its neighbors' differences."
    )
    reference: ReferenceShotSettings = Field(
        default_factory=ReferenceShotSettings, description="Only for mode=reference."
    )
    transnetv2: TransNetSettings = Field(default_factory=TransNetSettings, description="Only for mode=transnetv2.")
