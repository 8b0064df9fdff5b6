"""Settings of the motion words."""

from __future__ import annotations

from pydantic import Field

from core.settings import Settings


class MotionLabelSettings(Settings):
    """When a motion of the camera gets a word, in units that hold for any scale and rate of poses."""

    translation_threshold: float = Field(
        0.03, gt=0, description="Slowest translation with a word, scene depths per second."
    )
    rotation_threshold: float = Field(2.5, gt=0, description="Slowest rotation with a word, degrees per second.")
    smoothing_s: float = Field(
        0.3,
        gt=0,
        description="Standard deviation of the Gaussian over speeds, seconds; shake faster than it is no motion.",
    )
    stay_share: float = Field(
        0.6, gt=0, le=1, description="A word lasts while the speed is at least this share of the threshold."
    )
    min_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least share of the strongest translation (or rotation) that another one needs for a word.",
    )
    min_word_s: float = Field(
        0.4, ge=0, description="Shorter words are dropped and shorter gaps in one closed, seconds."
    )
    max_words: int = Field(4, ge=1, le=6, description="Most words at a time; the strongest are kept.")
