"""Poses of the frames between the annotated ones of a window, as corrections of smoothly interpolated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array, Int64Array
from models.annotation.geometry import ClipGeometry
from models.annotation.windows import Window
from models.sfm.intermediate_poses import ReferenceFrame, interpolate_poses, refine_intermediate_poses
from native import se3


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Motions that correct interpolated poses: the pose is motion * interpolated.

    Attributes:
      frame: (m,) index in the clip of each frame with a correction.
      motion: (m, 7) in camera coordinates, in the unit of its window.
    """

    frame: Int64Array
    motion: Float64Array

    def apply(self, cam_from_world: Float64Array, scale: float) -> None:
        """Corrects the rows of (n, 7) poses, one a frame of the clip, in whose unit a window's has a length `scale`."""
        if len(self.frame):
            motion = self.motion.copy()
            motion[:, :3] *= scale
            cam_from_world[self.frame] = se3.compose(motion, cam_from_world[self.frame])


def correct_between(window: Window, geometry: ClipGeometry, first: int, last: int) -> Corrections:
    """Corrections of the frames behind the window's annotated frames `first` to `last` - 1, each up to the next one.

    Frames in which too few points are followed get none, nor do those of a camera that stands still.
    """
    poses = geometry.poses
    frames: list[int] = []
    motions: list[Float64Array] = []
    if poses.motion_kind != "static" and poses.pose_ok:
        annotated = [k for k, frame in enumerate(window.frames) if frame.is_annotated]
        times = np.array([window.frames[k].time_s for k in annotated])
        for ordinal in range(first, last):
            end = annotated[ordinal + 1] if ordinal + 1 < len(annotated) else len(window.frames)
            between = window.frames[annotated[ordinal] + 1 : end]
            anchors = [
                _anchor(window, geometry, annotated[k], k) for k in range(ordinal, min(ordinal + 2, len(annotated)))
            ]
            anchors = [anchor for anchor in anchors if np.isfinite(anchor.cam_from_world).all()]
            if not between or not anchors:
                continue
            guess = interpolate_poses(poses.cam_from_world, times, [frame.time_s for frame in between])
            refined = refine_intermediate_poses(anchors, [frame.rgb for frame in between], guess)
            for frame, pose, old in zip(between, refined, guess, strict=True):
                if np.isfinite(pose).all():
                    frames.append(frame.index)
                    motions.append(np.asarray(se3.compose(pose, se3.invert(old))))
    return Corrections(frame=np.array(frames, np.int64), motion=np.array(motions).reshape(-1, 7))


def _anchor(window: Window, geometry: ClipGeometry, position: int, ordinal: int) -> ReferenceFrame:
    rgb = window.frames[position].rgb
    usable = np.ones(rgb.shape[:2], bool)
    if geometry.is_moving is not None:
        usable = _enlarged(geometry.is_moving[ordinal].astype(np.uint8), rgb.shape) == 0
    inverse_depth = np.zeros(rgb.shape[:2], np.float32)
    if geometry.poses.motion_kind == "general" and geometry.depth is not None and geometry.is_depth_valid is not None:
        usable &= _enlarged(geometry.is_depth_valid[ordinal].astype(np.uint8), rgb.shape) > 0
        np.divide(1, _enlarged(geometry.depth[ordinal], rgb.shape), out=inverse_depth, where=usable)
    intrinsics = np.broadcast_to(geometry.poses.intrinsics_px, (len(geometry.poses.cam_from_world), 4))
    return ReferenceFrame(
        gray=np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8),
        cam_from_world=geometry.poses.cam_from_world[ordinal],
        intrinsics_px=intrinsics[ordinal],
        inverse_depth=inverse_depth,
        is_usable=usable,
    )


def _enlarged(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A map at a frame's size, each pixel with the value of the one that it lies in."""
    return np.asarray(cv2.resize(values, shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT))
