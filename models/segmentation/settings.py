"""Settings of the dynamic masks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings


class MaskSettings(Settings):
    """Motion segmentation and its refinement."""

    model: Literal["residual-motion", "sam2.1-hiera-large"] = Field(
        "residual-motion",
        description="residual-motion: pixels whose motion neither camera nor depth explains; sam2.1-hiera-large: SAM "
        "2.1, "
        "prompted with these, refines the masks.",
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
        description="Propagate each object's mask through the whole clip by SAM's memory, so that it stays marked "
        "while it pauses or is occluded.",
    )
    exclude_sky: bool = Field(
        False,
        description="Leave out moving regions that are sky by their color (blue or pale, SpatialVID's rule): clouds "
        "and "
        "blank sky. Pale walls count as sky, too.",
    )
    parity: bool = Field(
        False, description="Swap red and blue in SAM's input, as SpatialVID's code does; masks get worse."
    )
    max_things: int = Field(8, ge=1, description="Most objects of a clip whose masks are propagated.")
    max_prompts: int = Field(16, ge=1, description="Most moving regions of a frame that prompt SAM, the largest first.")
    max_area_share: float = Field(
        0.3, gt=0, le=1, description="A larger mask, as a share of the frame, counts as background and is left out."
    )
    min_overlap: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Least share of a moving region that its refined mask must cover, else the region stays.",
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
