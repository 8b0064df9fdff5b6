"""Tracker settings; the defaults are those of MegaSaM's demo on casual videos."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import OPERATIONAL, Settings
from models.depth.settings import ConsistencySettings


class TrackerParity(Settings):
    """Errors of MegaSaM's code to copy for comparison (`reference`).

    The first two run on PyTorch alone.
    """

    one_depth_step: bool = Field(
        False,
        description="Only the first of two Gauss-Newton steps with a fixed focal length updates inverse depths.",
    )
    skip_first_pose: bool = Field(
        False, description="Inverse depths ignore the update of the first free pose of a bundle adjustment."
    )
    stale_context: bool = Field(
        False,
        description="The final bundle adjustment gives frame n the context features of keyframe n, and none to "
        "later frames.",
    )
    stale_times: bool = Field(
        False, description="The keyframe after a removed one keeps the removed one's time when poses are interpolated."
    )


class TrackerSettings(Settings):
    """Settings of keyframes, factor graph and bundle adjustment.

    Lengths are in px of the features (1/8 size).
    """

    min_motion_px: float = Field(
        2.0, ge=0, description="A frame becomes a keyframe if its mean flow from the last keyframe is larger."
    )
    warmup_keyframes: int = Field(8, ge=2, description="Keyframes of the initialization.")
    min_keyframe_distance_px: float = Field(
        2.0, ge=0, description="A keyframe closer than this to the previous one is removed."
    )
    distance_beta: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Weight of the full flow in the frame distance; the rest weighs flow without rotation.",
    )
    frontend_window: int = Field(25, ge=3, description="New edges reach back this many keyframes.")
    frontend_max_distance_px: float = Field(12.0, gt=0, description="Largest distance of proximity edges.")
    max_active_edges: int = Field(48, ge=8, description="Most active edges of a clip before the newest ones are added.")
    max_edge_age: int = Field(25, ge=1, description="Updates after which an edge becomes inactive.")
    backend_max_distance_px: float = Field(
        16.0, gt=0, description="Largest distance of edges in global bundle adjustment."
    )
    backend_edges_per_frame: int = Field(
        16, ge=4, description="Most edges per frame in global bundle adjustment, on average."
    )
    probe_steps: int = Field(10, ge=1, description="Updates of all keyframes before observability is measured.")
    keyframe_steps: int = Field(20, ge=1, description="Updates of all keyframes, focal length included.")
    final_steps: int = Field(15, ge=1, description="Updates of all frames.")
    min_focal_curvature: float = Field(
        50.0, ge=0, description="Below this the focal length is not observable and stays fixed."
    )
    max_prior_curvature: float = Field(
        25.0, ge=0, description="Below this inverse depths are poorly observable and monocular depth regularizes them."
    )
    optimize_focal: bool = Field(True, description="Whether the focal length is optimized where it is observable.")
    parity: TrackerParity = Field(default_factory=TrackerParity, description="Errors of the reference; all off.")


class MegasamSettings(Settings):
    """MegaSaM: tracking, optical flow and consistent depth, from monocular depth (annotate.depth)."""

    uri: str | None = Field(None, description="Path or URI of megasam_final.pth.", json_schema_extra=OPERATIONAL)
    flow_uri: str | None = Field(None, description="Path or URI of raft-things.pth.", json_schema_extra=OPERATIONAL)
    device: Literal["cpu", "cuda"] = Field(
        "cuda",
        description="Device of the networks. On a CPU a clip takes hours at the usual size.",
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
    min_static: float = Field(0.5, ge=0, le=1, description="Pixels with a lower static probability are dynamic.")
    tracker: TrackerSettings = Field(default_factory=TrackerSettings, description="Keyframes, edges and adjustment.")
    consistency: ConsistencySettings = Field(default_factory=ConsistencySettings, description="Consistent depth.")
