"""Settings of the analysis pass."""

from __future__ import annotations

from pydantic import Field, model_validator

from core.settings import Settings
from models.video_analysis.clip_intervals import ClipSettings
from models.video_analysis.shots import ShotSettings

SAMPLE_POSITIONS = (1 / 6, 1 / 2, 5 / 6)
"""Positions of the sample images in a clip, as shares of its duration."""


class SampleSettings(Settings):
    """Sample images of each clip, for scores of single images."""

    max_width_px: int = Field(640, ge=64, description="Maximum width of a sample image; the aspect ratio is kept.")
    max_height_px: int = Field(640, ge=64, description="Maximum height of a sample image; the aspect ratio is kept.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="JPEG quality of stored sample images.")


class AnalysisSettings(Settings):
    """The analysis pass: shots, clip intervals, luminance, motion and sample images."""

    shots: ShotSettings = Field(default_factory=ShotSettings, description="Shot detection.")
    clips: ClipSettings = Field(default_factory=ClipSettings, description="From shots to clip intervals.")
    samples: SampleSettings = Field(default_factory=SampleSettings, description="Sample images.")
    parity: bool = Field(
        False,
        description="Reproduce SpatialVID's numbers bug for bug: no clips without a cut, count-based "
        "times, sample images at 0, 1/3 and 2/3 stretched to 640x360 with BT.601 colors, motion over "
        "one frame too many. Needs shots.mode=reference and decodes sample frames a second time.",
    )

    @model_validator(mode="after")
    def _check_parity(self) -> AnalysisSettings:
        if self.parity and self.shots.mode != "reference":
            raise ValueError(f"analysis.parity needs analysis.shots.mode=reference, got {self.shots.mode!r}: set both")
        return self
