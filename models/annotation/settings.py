"""Settings of the spatial annotation of kept clips."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from core.settings import OPERATIONAL, Settings
from models.captions.motion_labels import MotionLabelSettings
from models.depth.settings import DepthSettings
from models.segmentation.settings import MaskSettings
from models.sfm.colmap import ColmapSettings
from models.sfm.estimators import PoseModel
from models.slam.settings import MegasamSettings


class PoseSettings(Settings):
    """Camera poses."""

    model: PoseModel = Field(
        "classical",
        description="classical: keypoint tracks and bundle adjustment, without weights. colmap: the package pycolmap "
        "(pip install 'spatialbeam[colmap]'), many times slower; it does not recognize static or rotating cameras. "
        "megasam: MegaSaM's SLAM network, flow and consistent depth, on a GPU; needs its weights and annotate.depth. "
        "none: clips are not annotated.",
    )
    colmap: ColmapSettings = Field(default_factory=ColmapSettings, description="Options of COLMAP.")
    megasam: MegasamSettings = Field(default_factory=MegasamSettings, description="Options of MegaSaM.")


class AnnotationSettings(Settings):
    """Spatial annotation of kept clips: camera poses, intrinsics, depth, dynamic masks, motion words."""

    pose: PoseSettings = Field(default_factory=PoseSettings, description="Camera poses.")
    fps: float | Literal["source"] = Field(
        5.0, description="Annotated frames a second; source annotates every frame of the clip."
    )
    poses_every_frame: bool = Field(
        False,
        description="Whether the shard also holds a pose for every video frame: interpolated between annotated frames, "
        "then refined by keypoints that are tracked into the frame. About 10 ms of CPU a frame.",
    )
    decoder: Literal["software", "nvdec"] = Field(
        "software",
        description="Decoder of clips for networks on a GPU. nvdec is the GPU's own decoder; files that it does not "
        "take are decoded in software. The frames are the same.",
        json_schema_extra=OPERATIONAL,
    )
    max_side_px: int = Field(640, ge=64, description="Longest side at which frames are annotated.")
    depth_max_side_px: int = Field(320, ge=32, description="Longest side of the stored depth maps and masks.")
    window_frames: int = Field(
        120,
        ge=8,
        description="Longer clips are annotated in windows of this many annotated frames, aligned over their overlap. "
        "Longer windows need more memory (about 5 MB a frame at 640 x 360) and drift less in scale.",
    )
    window_overlap_frames: int = Field(
        30, ge=4, description="Annotated frames in the overlap of two neighboring windows."
    )
    num_threads: int = Field(
        0,
        ge=0,
        description="Threads that annotate one clip, or cut several; 0: the machine's cores, shared among its local "
        "workers (one on other runners). Results do not depend on it.",
        json_schema_extra=OPERATIONAL,
    )
    intrinsics: Literal["fix", "refine", "estimate"] = Field(
        "refine",
        description="Use of known intrinsics (manifest columns fx, fy, cx, cy in pixels of the source): fix takes them "
        "as exact, refine as initial values, estimate ignores them. Unknown intrinsics are estimated.",
    )
    parity: bool = Field(
        False, description="Trajectory metrics and motion words by SpatialVID's own rules, bug for bug."
    )
    depth: DepthSettings = Field(default_factory=DepthSettings, description="Monocular depth networks.")
    masks: MaskSettings = Field(default_factory=MaskSettings, description="Dynamic masks.")
    labels: MotionLabelSettings = Field(default_factory=MotionLabelSettings, description="Camera-motion labels.")

    @model_validator(mode="after")
    def _check_windows(self) -> AnnotationSettings:
        if self.window_overlap_frames > self.window_frames // 2:
            raise ValueError(
                f"window_overlap_frames ({self.window_overlap_frames}) is more than half of window_frames "
                f"({self.window_frames}): lower it"
            )
        return self

    @model_validator(mode="after")
    def _check_tracker(self) -> AnnotationSettings:
        if self.pose.model == "megasam" and not self.depth.has_network:
            raise ValueError(
                "pose.model=megasam starts from monocular depth: set annotate.depth.relative, "
                "annotate.depth.metric or both"
            )
        return self

    @field_validator("fps")
    @classmethod
    def _check_fps(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 < value <= 1000:
            raise ValueError("must be above 0 and at most 1000, or source")
        return value
