"""Interface of pose estimators: request, estimate and camera intrinsics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float64Array, UInt8Array

IntrinsicsMode = Literal["fix", "refine", "estimate"]
MotionKind = Literal["general", "rotation", "static"]
INVERSE_DEPTH_P98 = 2.0
"""98th percentile of the scene's inverse depth, which fixes the scale of estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrinsics:
    """Intrinsics of a pinhole camera, in pixels of its frames.

    Attributes:
      fx, fy: focal lengths, positive.
      cx, cy: principal point; pixel centers lie at integer coordinates.

    Raises:
      ValueError: if a value is not finite or a focal length not positive.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.as_array()).all() or min(self.fx, self.fy) <= 0:
            raise ValueError(f"intrinsics must be finite and focal lengths positive, got {self!r}")

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self:
        """From (4,) fx fy cx cy."""
        fx, fy, cx, cy = np.asarray(values, np.float64).tolist()
        return cls(fx=fx, fy=fy, cx=cx, cy=cy)

    def as_array(self) -> Float64Array:
        """(4,) fx fy cx cy."""
        return np.array([self.fx, self.fy, self.cx, self.cy], np.float64)

    def resized(self, old_size: tuple[int, int], new_size: tuple[int, int]) -> Intrinsics:
        """Intrinsics after whole frames are resized from one (width, height) to another."""
        return Intrinsics.of(resize_intrinsics(self.as_array(), old_size, new_size))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRequest:
    """The frames of one clip, with dynamic masks and intrinsics if known.

    Attributes:
      frames: (h, w, 3) uint8 RGB each, all of one size, in temporal order, undistorted.
      times_s: (n,) float64, seconds, strictly increasing.
      dynamic_masks: (n, h, w) bool, True on dynamic objects; None if unknown.
      intrinsics: camera of the frames; None if unknown, then the mode must be "estimate".
      intrinsics_mode: "fix" keeps the intrinsics, "refine" initializes with them, "estimate" ignores them.
      num_threads: most threads to use.

    Raises:
      ValueError: if shapes, order or mode do not fit together.
    """

    frames: Sequence[UInt8Array]
    times_s: Float64Array
    dynamic_masks: BoolArray | None = None
    intrinsics: Intrinsics | None = None
    intrinsics_mode: IntrinsicsMode = "estimate"
    num_threads: int = 1

    def __post_init__(self) -> None:
        num = len(self.frames)
        if num == 0:
            raise ValueError("a pose request needs at least one frame")
        shapes = {frame.shape for frame in self.frames}
        if len(shapes) != 1 or len(self.frames[0].shape) != 3 or self.frames[0].shape[2] != 3:
            raise ValueError(f"frames must be (h, w, 3) and of one size, got {sorted(shapes)}")
        if any(frame.dtype != np.uint8 for frame in self.frames):
            raise ValueError("frames must be uint8")
        if self.times_s.shape != (num,) or not (np.diff(self.times_s) > 0).all():
            raise ValueError(f"expected {num} strictly increasing times, got {self.times_s!r}")
        if self.dynamic_masks is not None and self.dynamic_masks.shape != (num, *self.frames[0].shape[:2]):
            raise ValueError(
                f"expected a mask a frame, {num} of {self.frames[0].shape[:2]}, got {self.dynamic_masks.shape}"
            )
        if self.intrinsics is None and self.intrinsics_mode != "estimate":
            raise ValueError(f"intrinsics_mode {self.intrinsics_mode!r} needs intrinsics")
        if self.num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {self.num_threads}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames in pixels."""
        return self.frames[0].shape[1], self.frames[0].shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseEstimate:
    """Camera poses of a clip.

    Attributes:
      cam_from_world: (n, 7) float64, [tx ty tz qx qy qz qw] from world to camera coordinates (x right, y down,
        z forward), up to scale (`INVERSE_DEPTH_P98`). The world frame is the first registered camera. NaN in frames
        that are not registered.
      registered: (n,) bool, frames with a pose.
      intrinsics_px: (4,) float64 fx fy cx cy of all frames.
      motion_kind: "general"; "rotation" without visible translation (translations are then 0 and there are no
        points); "static" without motion.
      pose_ok: whether the poses are fit for use.
      reason: failure reason where `pose_ok` is False; otherwise None.
      points_world: (m, 3) float64 points of the reconstruction, in the unit of the translations.
      reprojection_px: root mean square reprojection error; None without points.
      focal_sigma: relative standard deviation of the focal length, by the covariance of bundle adjustment: large where
        the motion does not determine it. None if not estimated, or unknown.
      breaks: increasing frames that share too few points with the next one, if that is the failure reason. The frames
        between two breaks may have poses of their own.
      error_percent: predicted absolute trajectory error in % of the trajectory's length (`validation.predicted_error`);
        None if it was not predicted.
    """

    cam_from_world: Float64Array
    registered: BoolArray
    intrinsics_px: Float64Array
    motion_kind: MotionKind
    pose_ok: bool
    reason: str | None
    points_world: Float64Array
    reprojection_px: float | None
    focal_sigma: float | None = None
    breaks: tuple[int, ...] = ()
    error_percent: float | None = None


class PoseEstimator(Protocol):
    """Estimator of camera poses."""

    def __call__(self, request: PoseRequest) -> PoseEstimate:
        """Camera poses of one clip.

        Raises:
          ItemError: if the clip cannot be processed at all. Degenerate motion is no error: the estimate has a reason.
        """


def without_poses(request: PoseRequest, reason: str, breaks: tuple[int, ...] = ()) -> PoseEstimate:
    """Estimate without registered frames; see `PoseEstimate` for `breaks`."""
    num = len(request.frames)
    known = request.intrinsics
    return PoseEstimate(
        cam_from_world=np.full((num, 7), np.nan),
        registered=np.zeros(num, np.bool_),
        intrinsics_px=(known or default_intrinsics(request.size)).as_array(),
        motion_kind="general",
        pose_ok=False,
        reason=reason,
        points_world=np.zeros((0, 3)),
        reprojection_px=None,
        breaks=breaks,
    )


def default_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """Initial intrinsics of unknown cameras.

    The focal length is 1.2 times the longer side, as in COLMAP.

    Args:
      size: (width, height) in pixels.
    """
    focal = 1.2 * max(size)
    return Intrinsics(fx=focal, fy=focal, cx=(size[0] - 1) / 2, cy=(size[1] - 1) / 2)


def resize_intrinsics(
    intrinsics_px: Float64Array, old_size: tuple[int, int], new_size: tuple[int, int]
) -> Float64Array:
    """Intrinsics (..., 4) fx fy cx cy after resizing frames.

    Sizes are (width, height); whole frames are resized.
    """
    scale = np.tile(np.asarray(new_size, np.float64) / np.asarray(old_size, np.float64), 2)
    # With pixel centers at integers, the fixed point is the image corner at (-0.5, -0.5).
    corner = np.array([0, 0, 0.5, 0.5])
    return (intrinsics_px + corner) * scale - corner
