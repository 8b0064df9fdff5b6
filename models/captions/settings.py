"""Settings of captions and tags."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core.settings import Settings


class EmbeddedSettings(Settings):
    """When the embedded captioner calls a picture bright or dim; between the two limits it says Unknown."""

    bright_from: float = Field(90.0, ge=0, le=255, description="Least mean luminance of a bright clip, 0 to 255.")
    dim_to: float = Field(60.0, ge=0, le=255, description="Largest mean luminance of a dim or dark clip, 0 to 255.")

    @model_validator(mode="after")
    def _check_order(self) -> EmbeddedSettings:
        if self.dim_to >= self.bright_from:
            raise ValueError(f"dim_to {self.dim_to:g} must be below bright_from {self.bright_from:g}")
        return self


class CaptionSettings(Settings):
    """Captions and category tags of kept clips."""

    model: Literal["embedded", "none"] = Field(
        "embedded",
        description="embedded: composed from what was measured, without a model; what is not known is Unknown. "
        "none: no captions.",
    )
    layout: Literal["published", "repository"] = Field(
        "published",
        description="Keys of `<id>.caption.json`: those of SpatialVID's released files, or those that its code writes.",
    )
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings, description="The embedded captioner.")
