"""Settings of the networks that see depth in single frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings


class DepthSettings(Settings):
    """Which networks see depth in single frames, beside the depth that the camera's motion gives."""

    relative: Literal["none", "depth-anything-v2-large"] = Field(
        "none",
        description="Network for inverse depth up to scale and shift; its maps are fitted to the depth that the "
        "camera's motion gives and fill it.",
    )
    metric: Literal["none", "moge-2-vitl", "unidepth-v2-vitl14"] = Field(
        "none",
        description="Network for depth in meters: gives the scale of poses and depth, and depth where the camera does "
        "not travel. unidepth-v2-vitl14 needs the package unidepth.",
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
        "fp16", description="Number format of the networks; the halves are for GPUs."
    )
    input_max_side_px: int = Field(
        1280, ge=14, description="Longest side at which frames are decoded for the networks; they resize them further."
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
        2400, ge=100, le=3600, description="Patches that MoGe-2 cuts a frame into: more are finer and slower."
    )

    @property
    def has_network(self) -> bool:
        """Whether any network is asked for."""
        return self.relative != "none" or self.metric != "none"


class ConsistencySettings(Settings):
    """Optimization of depth over a clip."""

    align_steps: int = Field(100, ge=1, description="Steps that fit a scale and a shift to each frame.")
    refine_steps: int = Field(400, ge=1, description="Steps that change each pixel.")
    normal_weight: float = Field(5.0, ge=0, description="Weight of surface normals against the first maps.")
    gradient_weight: float = Field(2.0, ge=0, description="Weight of slopes against the first maps.")
    parity: bool = Field(
        False, description="One step of each kind, as SpatialVID's code takes: its update stands behind the loop."
    )
