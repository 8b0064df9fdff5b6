"""How the camera moves from each pose to the next, in its own axes."""

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
    """The motion between neighboring poses.

    Attributes:
      times_s: (n,) times of the poses.
      moved: (n - 1, 6) motion along `vocabulary.AXES`: forward, right, down in scene depths; to the right, up,
        clockwise in degrees, all in the axes of the camera half-way between the two poses.
    """

    times_s: Float64Array
    moved: Float64Array

    @property
    def durations_s(self) -> Float64Array:
        """(n - 1,) seconds from each pose to the next."""
        return np.diff(self.times_s)

    def smooth_rates(self, smoothing_s: float) -> Float64Array:
        """(n - 1, 6) motion per second, averaged over time with a Gaussian of standard deviation `smoothing_s`.

        The average is centered, so it does not lag; at the ends it is over what there is.
        """
        middles = 0.5 * (self.times_s[1:] + self.times_s[:-1])
        weights = exp(-0.5 * ((middles[:, None] - middles) / smoothing_s) ** 2)
        # A matrix product would add in another order on a machine with more cores.
        return np.einsum("ij,jk", weights, self.moved) / np.einsum("ij,j", weights, self.durations_s)[:, None]


def measure_steps(
    cam_from_world: npt.ArrayLike, *, times_s: npt.ArrayLike, scene_depth: float | None, has_translation: bool = True
) -> MotionSteps:
    """Measures the motion between neighboring poses.

    Args:
      cam_from_world: (n, 7) [tx ty tz qx qy qz qw], n >= 1.
      times_s: (n,) increasing times of the poses, seconds.
      scene_depth: typical (median) depth of the clip's scene in the poses' unit of length; may be None without
        translation.
      has_translation: false when the poses are known to share one center: their translations are not looked at.

    Raises:
      ValueError: for wrong shapes, times that do not increase, a depth that is not positive.
      ItemError: `BadPoses` for poses that are not finite or not rigid.
    """
    poses = validate_poses(cam_from_world)
    times = validate_times(times_s, len(poses))
    moved = np.zeros((len(poses) - 1, 6))
    if has_translation:
        if scene_depth is None or not (np.isfinite(scene_depth) and scene_depth > 0):
            raise ValueError(f"translation needs a positive scene_depth, got {scene_depth!r}")
        ahead = np.diff(camera_centers(poses), axis=0) / scene_depth
        moved[:, :3] = rotate(midpoint_rotations(poses), ahead)[:, [2, 0, 1]]
    # cam_from_cam turns points; the camera itself turns the other way.
    moved[:, 3:] = -np.degrees(rotation_vectors(relative_rotations(poses)))[:, [1, 0, 2]]
    return MotionSteps(times_s=times, moved=moved)
