"""MegaSaM on clips: from frames and monocular depth to cameras, consistent depth and static probability.

Depth is aligned to one unit, many clips are tracked together, and RAFT flow makes the depth of each consistent. Steps
without a network run before (`prepare_clip`) and after (`PreparedClip.finish`), so that the GPU does not wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from core.arrays import Float64Array, Int64Array, UInt8Array
from models.depth import reference as depth_reference
from models.depth.alignment import AlignedDepth, align_depth
from models.depth.consistent import ConsistentDepth, make_consistent
from models.depth.mono_depth import FrameDepths
from models.flow.raft import RaftNetwork
from models.flow.raft_clip import estimate_clip_flow
from models.sfm.estimate import Intrinsics, default_intrinsics, resize_intrinsics
from models.slam.network import STRIDE, TrackingNetwork
from models.slam.reference import tracker_for
from models.slam.settings import MegasamSettings
from models.slam.tracked_frames import TrackedFrames
from models.slam.tracker import SlamInput, SlamResult, track_clips

WORKING_AREA_PX = 384 * 512
MIN_SIDE_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipWithMonoDepth:
    """Annotated frames of a clip with monocular depth.

    Attributes:
      rgb: (h, w, 3) uint8 each, at least two.
      frame: (n,) indices in the clip.
      time_s: (n,) increasing.
      intrinsics: known ones, in pixels of the frames; None if unknown.
      fix_focal: whether the known focal length is exact.
      relative, metric: monocular depth; at least one is given.
    """

    rgb: Sequence[UInt8Array]
    frame: Int64Array
    time_s: Float64Array
    intrinsics: Intrinsics | None
    fix_focal: bool = False
    relative: FrameDepths | None
    metric: FrameDepths | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return self.rgb[0].shape[1], self.rgb[0].shape[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedClip:
    """A clip at the working size of the networks.

    Attributes:
      slam_input: of the tracker.
      frame: (n,) indices in the clip.
      size: (width, height) of the annotated frames.
      meters_per_unit: metric scale of the depth; None if unknown.
    """

    slam_input: SlamInput
    frame: Int64Array
    size: tuple[int, int]
    meters_per_unit: float | None

    @property
    def working_size(self) -> tuple[int, int]:
        """(width, height) of the tracked images."""
        return self.slam_input.images.shape[3], self.slam_input.images.shape[2]

    def finish(self, track: SlamResult, depth: ConsistentDepth) -> TrackedFrames:
        """Cameras and depth of the clip, in pixels of the annotated frames."""
        width, height = self.working_size
        half = depth.inverse_depth.reshape(len(self.frame), height // 2, 2, width // 2, 2).mean((2, 4))
        static = np.stack([cv2.resize(one, half.shape[:0:-1], interpolation=cv2.INTER_LINEAR) for one in track.static])
        return TrackedFrames(
            frame=self.frame,
            cam_from_world=track.cam_from_world,
            intrinsics_px=resize_intrinsics(track.intrinsics_px, (width, height), self.size),
            inverse_depth=half.astype(np.float32),
            static=static,
            disagreement=depth.disagreement,
            residual_px=depth.residual_px * np.float32(self.size[0] / width),
            meters_per_unit=self.meters_per_unit,
            focal_observed=track.focal_observed,
        )


def prepare_clip(clip: ClipWithMonoDepth) -> PreparedClip:
    """Aligns a clip's monocular depth to one unit and resizes its frames.

    Images and depth get the working size.

    Raises:
      ValueError: for a clip without depth.
    """
    depth = align_depth(clip.relative, clip.metric)
    return PreparedClip(
        slam_input=_slam_input(clip, depth, working_size(clip.size)),
        frame=clip.frame,
        size=clip.size,
        meters_per_unit=depth.meters_per_unit,
    )


def run_networks(
    tracker: TrackingNetwork, raft: RaftNetwork, clips: Sequence[SlamInput], settings: MegasamSettings
) -> list[tuple[SlamResult, ConsistentDepth]]:
    """Tracks and depth of clips of one size, on the device of the networks.

    Raises:
      ValueError: for a clip with less than two frames.
    """
    tracks = track_clips(tracker, clips, settings.tracker, tracker_class=tracker_for(settings.tracker))
    return [(track, _consistent_depth(clip, track, raft, settings)) for clip, track in zip(clips, tracks, strict=True)]


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the tracked images: at most MegaSaM's area, multiples of 8."""
    factor = np.sqrt(WORKING_AREA_PX / (size[0] * size[1]))
    width, height = (max(MIN_SIDE_PX, int(side * min(factor, 1.0)) // STRIDE * STRIDE) for side in size)
    return width, height


def _slam_input(clip: ClipWithMonoDepth, depth: AlignedDepth, size: tuple[int, int]) -> SlamInput:
    images = np.stack([cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) for rgb in clip.rgb])
    with np.errstate(divide="ignore"):
        z = np.where(depth.inverse_depth > 0, 1 / depth.inverse_depth, 0).astype(np.float32)
    camera = clip.intrinsics
    if camera is None:
        camera = default_intrinsics(clip.size)
        if depth.focal_px is not None:
            focal = depth.focal_px * clip.size[0] / depth.inverse_depth.shape[2]
            camera = Intrinsics(fx=focal, fy=focal, cx=camera.cx, cy=camera.cy)
    return SlamInput(
        images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
        depth=np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST_EXACT) for one in z]),
        intrinsics_px=resize_intrinsics(camera.as_array(), clip.size, size),
        times_s=clip.time_s,
        fix_focal=clip.fix_focal,
    )


def _consistent_depth(
    clip: SlamInput, track: SlamResult, raft: RaftNetwork, settings: MegasamSettings
) -> ConsistentDepth:
    """Consistent depth of a tracked clip."""
    flow = estimate_clip_flow(raft, torch.from_numpy(clip.images))
    mono = np.where(clip.depth > 0, 1 / np.maximum(clip.depth, 1e-6), 0).astype(np.float32)
    options = settings.consistency
    options = depth_reference.single_step(options) if options.parity else options
    return make_consistent(mono, track.static, track.cam_from_world, track.intrinsics_px, flow, options)
