"""Settings of the dynamic masks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings


class MaskSettings(Settings):
    """How what moves by itself is outlined."""

    model: Literal["residual-motion", "sam2.1-hiera-large"] = Field(
        "residual-motion",
        description="residual-motion: what neither camera nor depth explains; sam2.1-hiera-large: SAM 2.1, prompted "
        "with that, draws the outlines.",
    )
    weights_uri: str | None = Field(
        None, description="Path or URI of sam2.1_hiera_large.pt.", json_schema_extra=OPERATIONAL
    )
    device: Literal["cpu", "cuda"] = Field("cuda", description="Where the network runs.", json_schema_extra=OPERATIONAL)
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "bf16", description="Number format of the network; the halves are for GPUs."
    )
    propagate: bool = Field(
        False,
        description="Carry each thing's mask through the whole clip by SAM's memory, so that it stays marked while it "
        "pauses or is hidden.",
    )
    exclude_sky: bool = Field(
        False,
        description="Leave out moving regions that are sky by their color (blue or pale, SpatialVID's rule), so that "
        "clouds and blank sky are not outlined; pale walls count as sky, too.",
    )
    parity: bool = Field(
        False, description="Exchange red and blue in what SAM sees, as SpatialVID's code does; masks get worse."
    )
    max_things: int = Field(8, ge=1, description="Most things of a clip that are carried on.")
    max_prompts: int = Field(
        16, ge=1, description="Most moving regions of a frame that are prompted, the largest first."
    )
    max_area_share: float = Field(
        0.3, gt=0, le=1, description="A mask over more of the frame is taken for the background and left out."
    )
    min_overlap: float = Field(
        0.3, ge=0, le=1, description="Least share of a moving region that its mask must cover, else the region stays."
    )
    batch_frames: int = Field(
        8, ge=1, description="Most frames in a batch; halved where memory runs out.", json_schema_extra=OPERATIONAL
    )
    batch_mib: int = Field(
        256, ge=1, description="Most MiB of decoded frames in a batch.", json_schema_extra=OPERATIONAL
    )
    decode_threads: int = Field(
        4, ge=1, description="Clips decoded ahead of the network, each on a thread.", json_schema_extra=OPERATIONAL
    )
