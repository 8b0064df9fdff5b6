"""Settings of the tracker; the defaults are those of MegaSaM's demonstration on videos from the wild."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings
from models.depth.settings import ConsistencySettings


class TrackerParity(Settings):
    """What MegaSaM's code does wrong, to compare with it. Adjustment with such steps runs on PyTorch alone."""

    one_depth_step: bool = Field(
        False,
        description="Of the two steps of an adjustment without focal length, only the first moves inverse depths.",
    )
    skip_first_pose: bool = Field(
        False, description="Inverse depths do not follow the first pose of a clip that moves in an adjustment."
    )
    stale_context: bool = Field(
        False,
        description="In the adjustment over all frames the n-th frame has the context of the n-th keyframe, and frames "
        "beyond have none.",
    )
    stale_times: bool = Field(
        False, description="Where a keyframe is dropped, the one after it has its time when frames between are placed."
    )


class TrackerSettings(Settings):
    """Camera tracking by a learned flow update and bundle adjustment. Lengths are in px of the features, 1/8 size."""

    min_motion_px: float = Field(
        2.0, ge=0, description="A frame becomes a keyframe if its mean flow from the last one is longer."
    )
    warmup_keyframes: int = Field(8, ge=2, description="Keyframes with which a clip's map begins.")
    min_keyframe_distance_px: float = Field(
        2.0, ge=0, description="A keyframe that turns out to be nearer to the one before is dropped."
    )
    distance_beta: float = Field(0.3, ge=0, le=1, description="Share of rotation in the distance of keyframes.")
    frontend_window: int = Field(25, ge=3, description="New edges go back so many keyframes.")
    frontend_max_distance_px: float = Field(12.0, gt=0, description="Keyframes further apart are not joined.")
    max_active_edges: int = Field(48, ge=8, description="Edges of a clip that change at once, besides the newest.")
    max_edge_age: int = Field(25, ge=1, description="Steps after which an edge rests.")
    backend_max_distance_px: float = Field(16.0, gt=0, description="As above, in the adjustment of the whole clip.")
    backend_edges_per_frame: int = Field(16, ge=4, description="Most edges a frame in that adjustment, on average.")
    probe_steps: int = Field(10, ge=1, description="Steps of the whole clip before it is decided what is observable.")
    keyframe_steps: int = Field(20, ge=1, description="Steps over all keyframes, focal length included.")
    final_steps: int = Field(15, ge=1, description="Steps over all frames.")
    min_focal_curvature: float = Field(
        50.0, ge=0, description="With less, the focal length is not observable and stays."
    )
    max_prior_curvature: float = Field(
        25.0, ge=0, description="With less, inverse depths are hardly observable and keep to the depth maps."
    )
    optimize_focal: bool = Field(True, description="Whether the focal length may change where it is observable.")
    parity: TrackerParity = Field(default_factory=TrackerParity, description="Errors of the reference; all off.")


class MegasamSettings(Settings):
    """MegaSaM's chain: tracking, flow and consistent depth, from depth that networks see (annotate.depth)."""

    uri: str | None = Field(None, description="Path or URI of megasam_final.pth.", json_schema_extra=OPERATIONAL)
    flow_uri: str | None = Field(None, description="Path or URI of raft-things.pth.", json_schema_extra=OPERATIONAL)
    device: Literal["cpu", "cuda"] = Field(
        "cuda",
        description="Where it runs. On a CPU a clip takes hours at the usual size.",
        json_schema_extra=OPERATIONAL,
    )
    clips_at_once: int = Field(
        8,
        ge=1,
        description="Most clips that are tracked together; 8 of 47 frames need 14 GiB.",
        json_schema_extra=OPERATIONAL,
    )
    decode_threads: int = Field(
        4, ge=1, description="Clips decoded ahead, each on a thread.", json_schema_extra=OPERATIONAL
    )
    min_static: float = Field(0.5, ge=0, le=1, description="Pixels less likely to stand still than this are moving.")
    tracker: TrackerSettings = Field(default_factory=TrackerSettings, description="Keyframes, edges and adjustment.")
    consistency: ConsistencySettings = Field(default_factory=ConsistencySettings, description="Consistent depth.")
