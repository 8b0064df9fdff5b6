"""Settings of monocular depth and of consistent video depth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from core.settings import OPERATIONAL, Settings
from models.registry import model_ids


def _choices(task: str) -> str:
    return " or ".join(model_ids(task))


class DepthSettings(Settings):
    """Monocular depth networks, which fill and scale the depth from multi-view stereo."""

    relative: str = Field(
        "none",
        description=f"Network for inverse depth up to scale and shift: none or {_choices('relative depth')}. Its maps "
        "are aligned with the depth from multi-view stereo and fill it.",
    )
    metric: str = Field(
        "none",
        description=f"Network for depth in meters: none or {_choices('metric depth')}. It gives the scale of poses and "
        "depth, and depth where the camera does not translate.",
    )
    relative_uri: str | None = Field(
        None, description="Path or URI of depth_anything_v2_vitl.pth.", json_schema_extra=OPERATIONAL
    )
    metric_uri: str | None = Field(
        None,
        description="Path or URI of the metric network's weights: MoGe's model.pt, the folder of UniDepth's files.",
        json_schema_extra=OPERATIONAL,
    )
    device: Literal["cpu", "cuda"] = Field("cuda", description="Where the networks run.", json_schema_extra=OPERATIONAL)
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "fp16", description="Number format of the networks; fp16 and bf16 are for GPUs."
    )
    input_max_side_px: int = Field(
        1280, ge=14, description="Longest side at which frames are decoded for the networks, which resize them further."
    )
    batch_frames: int = Field(
        16, ge=1, description="Most frames in a batch; halved where memory runs out.", json_schema_extra=OPERATIONAL
    )
    batch_mib: int = Field(
        256, ge=1, description="Most MiB of decoded frames in a batch.", json_schema_extra=OPERATIONAL
    )
    clips_at_once: int = Field(
        8, ge=1, description="Most clips whose frames share batches.", json_schema_extra=OPERATIONAL
    )
    decode_threads: int = Field(
        4, ge=1, description="Clips decoded ahead of the networks, each on a thread.", json_schema_extra=OPERATIONAL
    )
    moge_tokens: int = Field(
        2400, ge=100, le=3600, description="Patches (ViT tokens) of a frame in MoGe-2: more are finer and slower."
    )

    @field_validator("relative", "metric")
    @classmethod
    def _check_model(cls, value: str, info: ValidationInfo) -> str:
        known = ["none", *model_ids(f"{info.field_name} depth")]
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    @property
    def has_network(self) -> bool:
        """Whether any network is asked for."""
        return self.relative != "none" or self.metric != "none"


class ConsistencySettings(Settings):
    """Consistent video depth: optimization of depth maps over a clip."""

    align_steps: int = Field(100, ge=1, description="Optimizer steps of the scale and the shift of each frame.")
    refine_steps: int = Field(400, ge=1, description="Optimizer steps of the inverse depth of each pixel.")
    normal_weight: float = Field(
        5.0, ge=0, description="Weight of the loss on surface normals against the initial maps."
    )
    gradient_weight: float = Field(2.0, ge=0, description="Weight of the loss on gradients against the initial maps.")
    parity: bool = Field(
        False,
        description="One optimizer step per stage, as in SpatialVID's code: the step stands after the loop.",
    )
