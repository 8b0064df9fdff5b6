"""Refined poses of a window's intermediate frames, as corrections of interpolated poses."""

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
class PoseCorrections:
    """Relative poses from interpolated to refined cameras, which do not depend on the world frame.

    Attributes:
      frame: (m,) index in the clip of each refined frame.
      refined_from_interpolated: (m, 7) SE(3) transforms in camera coordinates, in the unit of the window.
    """

    frame: Int64Array
    refined_from_interpolated: Float64Array

    def apply(self, cam_from_world: Float64Array, scale: float) -> None:
        """Corrects (n, 7) interpolated poses of the clip's frames in place.

        Args:
          cam_from_world: a pose for each frame of the clip.
          scale: length of the window's unit in the unit of the poses.
        """
        if len(self.frame):
            corrections = self.refined_from_interpolated.copy()
            corrections[:, :3] *= scale
            cam_from_world[self.frame] = se3.compose(corrections, cam_from_world[self.frame])


def refine_window_poses(window: Window, geometry: ClipGeometry, first: int, last: int) -> PoseCorrections:
    """Corrections of the frames after each of the annotated frames `first` to `last` - 1.

    Interpolation is cubic Hermite (`interpolate_poses`), refinement motion-only bundle adjustment. Frames with too few
    tracked keypoints, and those of a static camera, are not refined.
    """
    poses = geometry.poses
    frames: list[int] = []
    corrections: list[Float64Array] = []
    if poses.motion_kind != "static" and poses.pose_ok:
        annotated = [k for k, frame in enumerate(window.frames) if frame.is_annotated]
        times = np.array([window.frames[k].time_s for k in annotated])
        for ordinal in range(first, last):
            end = annotated[ordinal + 1] if ordinal + 1 < len(annotated) else len(window.frames)
            intermediate = window.frames[annotated[ordinal] + 1 : end]
            references = [
                _reference_frame(window, geometry, annotated[k], k)
                for k in range(ordinal, min(ordinal + 2, len(annotated)))
            ]
            references = [reference for reference in references if np.isfinite(reference.cam_from_world).all()]
            if not intermediate or not references:
                continue
            initial = interpolate_poses(poses.cam_from_world, times, [frame.time_s for frame in intermediate])
            refined = refine_intermediate_poses(references, [frame.rgb for frame in intermediate], initial)
            for frame, pose, interpolated in zip(intermediate, refined, initial, strict=True):
                if np.isfinite(pose).all():
                    frames.append(frame.index)
                    corrections.append(np.asarray(se3.compose(pose, se3.invert(interpolated))))
    return PoseCorrections(
        frame=np.array(frames, np.int64), refined_from_interpolated=np.array(corrections).reshape(-1, 7)
    )


def _reference_frame(window: Window, geometry: ClipGeometry, position: int, ordinal: int) -> ReferenceFrame:
    """An annotated frame as a reference for tracking, by its index in the window."""
    rgb = window.frames[position].rgb
    usable = np.ones(rgb.shape[:2], bool)
    if geometry.is_moving is not None:
        usable = _resize_nearest(geometry.is_moving[ordinal].astype(np.uint8), rgb.shape) == 0
    inverse_depth = np.zeros(rgb.shape[:2], np.float32)
    if geometry.poses.motion_kind == "general" and geometry.depth is not None and geometry.is_depth_valid is not None:
        usable &= _resize_nearest(geometry.is_depth_valid[ordinal].astype(np.uint8), rgb.shape) > 0
        np.divide(1, _resize_nearest(geometry.depth[ordinal], rgb.shape), out=inverse_depth, where=usable)
    intrinsics = np.broadcast_to(geometry.poses.intrinsics_px, (len(geometry.poses.cam_from_world), 4))
    return ReferenceFrame(
        gray=np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8),
        cam_from_world=geometry.poses.cam_from_world[ordinal],
        intrinsics_px=intrinsics[ordinal],
        inverse_depth=inverse_depth,
        is_usable=usable,
    )


def _resize_nearest(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A map upscaled to the (height, width) of a frame, by nearest neighbor."""
    return np.asarray(cv2.resize(values, shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT))
