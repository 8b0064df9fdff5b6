"""Base of all typed configuration: unknown keys are refused, values cannot be changed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base class of every configuration group. Each field states its unit and has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=False, validate_default=True)
