"""Settings of the camera motion labels."""

from __future__ import annotations

from pydantic import Field

from core.settings import Settings


class MotionLabelSettings(Settings):
    """Thresholds of motion labels, independent of the poses' scale and rate."""

    translation_threshold: float = Field(
        0.03, gt=0, description="Minimum translation speed of a label, scene depths per second."
    )
    rotation_threshold: float = Field(2.5, gt=0, description="Minimum rotation speed of a label, degrees per second.")
    smoothing_s: float = Field(
        0.3,
        gt=0,
        description="Standard deviation of the Gaussian filter over velocities, seconds; filters out faster shake.",
    )
    stay_share: float = Field(
        0.6,
        gt=0,
        le=1,
        description="A label holds while the speed is at least this share of the threshold (hysteresis).",
    )
    min_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Minimum speed of a label as a share of the strongest translation (or rotation).",
    )
    min_word_s: float = Field(
        0.4, ge=0, description="Shorter labels are dropped and shorter gaps in a label are closed, seconds."
    )
    max_words: int = Field(4, ge=1, le=6, description="Maximum number of labels at a time; the strongest are kept.")
