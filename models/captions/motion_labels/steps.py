"""Relative camera motion between neighboring poses, in the camera's axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.arrays import Float64Array
from models.geometry.camera_path import (
    camera_centers,
    midpoint_rotations,
    relative_rotations,
    rotate,
    rotation_vectors,
    validate_poses,
    validate_times,
)
from native.elementary import exp


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSteps:
    """Relative motion between neighboring poses.

    Attributes:
      times_s: (n,) times of the poses.
      motion: (n - 1, 6) motion along `vocabulary.AXES`: forward, right, down in scene depths; pan right, tilt up,
        roll clockwise in degrees, all in the axes of the camera half-way between the two poses.
    """

    times_s: Float64Array
    motion: Float64Array

    @property
    def durations_s(self) -> Float64Array:
        """(n - 1,) seconds from each pose to the next."""
        return np.diff(self.times_s)

    def smooth_rates(self, smoothing_s: float) -> Float64Array:
        """(n - 1, 6) motion per second, smoothed by a Gaussian.

        `smoothing_s` is its standard deviation.

        The filter is centered, so it does not lag; at the ends it is normalized over the samples inside.
        """
        middles = 0.5 * (self.times_s[1:] + self.times_s[:-1])
        weights = exp(-0.5 * ((middles[:, None] - middles) / smoothing_s) ** 2)
        # A BLAS product's order of summation depends on the number of cores.
        return np.einsum("ij,jk", weights, self.motion) / np.einsum("ij,j", weights, self.durations_s)[:, None]


def measure_steps(
    cam_from_world: npt.ArrayLike, *, times_s: npt.ArrayLike, scene_depth: float | None, has_translation: bool = True
) -> MotionSteps:
    """Relative camera motion between neighboring poses.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1.
      times_s: (n,) increasing times of the poses, seconds.
      scene_depth: median depth of the clip's scene in the poses' unit of length; may be None without translation.
      has_translation: false when the poses share one camera center: their translations are ignored.

    Raises:
      ValueError: for wrong shapes, times that do not increase, a depth that is not positive.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = validate_poses(cam_from_world)
    times = validate_times(times_s, len(poses))
    motion = np.zeros((len(poses) - 1, 6))
    if has_translation:
        if scene_depth is None or not (np.isfinite(scene_depth) and scene_depth > 0):
            raise ValueError(f"translation needs a positive scene_depth, got {scene_depth!r}")
        ahead = np.diff(camera_centers(poses), axis=0) / scene_depth
        motion[:, :3] = rotate(midpoint_rotations(poses), ahead)[:, [2, 0, 1]]
    # A relative rotation rotates points; the camera rotates the other way.
    motion[:, 3:] = -np.degrees(rotation_vectors(relative_rotations(poses)))[:, [1, 0, 2]]
    return MotionSteps(times_s=times, motion=motion)
