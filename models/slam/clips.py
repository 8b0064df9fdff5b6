"""From annotated frames and the depth that networks see in them to cameras, consistent depth and what stands still.

The chain of MegaSaM: depth in one unit, tracking of many clips together, RAFT flow and consistent depth of each. What
needs no network is done before (`prepare_clip`) and after (`PreparedClip.finish`), where nobody waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from core.arrays import Float64Array, Int64Array, UInt8Array
from models.depth.alignment import AlignedDepth, align_depth
from models.depth.consistent import ConsistentDepth, make_consistent
from models.depth.mono_depth import FrameDepths
from models.flow.raft import RaftNetwork
from models.flow.raft_clip import estimate_clip_flow
from models.sfm.estimate import Intrinsics, default_intrinsics, resize_intrinsics
from models.slam.network import STRIDE, TrackingNetwork
from models.slam.settings import MegasamSettings
from models.slam.tracked_frames import TrackedFrames
from models.slam.tracker import SlamInput, SlamResult, track_clips

WORKING_AREA_PX = 384 * 512
MIN_SIDE_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipWithMonoDepth:
    """A clip's annotated frames and what is known of them.

    Attributes:
      rgb: (h, w, 3) uint8 each, at least two.
      frame: (n,) indices in the clip.
      time_s: (n,) rising.
      intrinsics: known camera, in pixels of the frames; None if unknown.
      fix_focal: whether the known focal length is exact.
      relative, metric: depth that networks see, one of both at least.
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
    """A clip as the networks take it.

    Attributes:
      slam_input: what is tracked.
      frame: (n,) indices in the clip.
      size: (width, height) of the annotated frames.
      meters_per_unit: of the depth; None where nothing says.
    """

    slam_input: SlamInput
    frame: Int64Array
    size: tuple[int, int]
    meters_per_unit: float | None

    @property
    def working_size(self) -> tuple[int, int]:
        """(width, height) of the tracked pictures."""
        return self.slam_input.images.shape[3], self.slam_input.images.shape[2]

    def finish(self, track: SlamResult, depth: ConsistentDepth) -> TrackedFrames:
        """What was found of the clip, in its own pixels."""
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
    """Brings the depth of a clip into one unit, and pictures and depth to the size at which clips are tracked.

    Raises:
      ValueError: for a clip without any depth.
    """
    depth = align_depth(clip.relative, clip.metric)
    return PreparedClip(
        slam_input=_to_track(clip, depth, working_size(clip.size)),
        frame=clip.frame,
        size=clip.size,
        meters_per_unit=depth.meters_per_unit,
    )


def run_networks(
    tracker: TrackingNetwork, raft: RaftNetwork, clips: Sequence[SlamInput], settings: MegasamSettings
) -> list[tuple[SlamResult, ConsistentDepth]]:
    """Tracks clips of one size together and makes the depth of each consistent, on the device of the networks.

    Raises:
      ValueError: for a clip with less than two frames.
    """
    tracks = track_clips(tracker, clips, settings.tracker)
    return [(track, _agree(clip, track, raft, settings)) for clip, track in zip(clips, tracks, strict=True)]


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which frames are tracked: of MegaSaM's area, multiples of 8."""
    factor = np.sqrt(WORKING_AREA_PX / (size[0] * size[1]))
    width, height = (max(MIN_SIDE_PX, int(side * min(factor, 1.0)) // STRIDE * STRIDE) for side in size)
    return width, height


def _to_track(clip: ClipWithMonoDepth, depth: AlignedDepth, size: tuple[int, int]) -> SlamInput:
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


def _agree(clip: SlamInput, track: SlamResult, raft: RaftNetwork, settings: MegasamSettings) -> ConsistentDepth:
    """The consistent depth of a tracked clip."""
    flow = estimate_clip_flow(raft, torch.from_numpy(clip.images))
    given = np.where(clip.depth > 0, 1 / np.maximum(clip.depth, 1e-6), 0).astype(np.float32)
    return make_consistent(given, track.static, track.cam_from_world, track.intrinsics_px, flow, settings.consistency)
