"""Zooms told from a camera that moves forward: all depths grow alike, which no motion of the camera does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.poses.rotation import rotation_between
from models.poses.tracks import Tracks
from models.poses.triangulation import rays_of

FloatArray = npt.NDArray[np.float64]

MIN_COMMON_POINTS = 60
MIN_ZOOM = 1.1
MEDIAN_PX = 0.8
TAIL_PX = 2.0
GROWTH = 2.0
"""Limits grow by so much for each factor of e of the zoom: points are followed less exactly while they grow."""
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Zoom:
    """How a picture grows without parallax between two frames.

    Attributes:
      first, second: frames, first < second.
      factor: focal length of the second over that of the first.
    """

    first: int
    second: int
    factor: float

    @property
    def reason(self) -> str:
        """Why there are no poses, for people."""
        change = "grows" if self.factor > 1 else "shrinks"
        strength = max(self.factor, 1 / self.factor)
        return (
            f"the picture {change} {strength:.2f} times between annotated frames {self.first} and {self.second} "
            "without parallax: a zoom, or a camera moving straight at a flat scene"
        )


def find_zoom(tracks: Tracks, intrinsics_px: FloatArray) -> Zoom | None:
    """The strongest zoom between frames far apart, or None where another motion explains the clip.

    From each frame the farthest one that shares enough points is compared with it: a rotation and a change of scale
    about the principal point must explain all pairs whose scale changes. A camera that moves towards a flat wall
    looks the same, and is taken for a zoom too: nothing tells them apart.
    """
    seen = tracks.is_seen
    strongest: Zoom | None = None
    for first in range(0, len(seen) - 1, max(1, len(seen) // 12)):
        shared = (seen[first + 1 :] & seen[first]).sum(axis=1)
        enough = np.flatnonzero(shared >= MIN_COMMON_POINTS)
        if not len(enough):
            continue
        second = first + 1 + int(enough[-1])
        common = np.flatnonzero(seen[first] & seen[second])
        a, b = (tracks.position[f, common].astype(np.float64) for f in (first, second))
        factor, error = _scale_between(a, b, intrinsics_px)
        strength = abs(np.log(factor))
        if strength < np.log(MIN_ZOOM):
            continue
        slack = 1 + GROWTH * strength
        if np.median(error) > MEDIAN_PX * slack or np.percentile(error, 80) > TAIL_PX * slack:
            return None
        if strongest is None or strength > abs(np.log(strongest.factor)):
            strongest = Zoom(first, second, factor)
    return strongest


def _scale_between(source: FloatArray, target: FloatArray, intrinsics_px: FloatArray) -> tuple[float, FloatArray]:
    """The change of scale about the principal point that, with a rotation, explains pixels best, and what is left."""
    centre = intrinsics_px[2:]
    factor = 1.0
    for _ in range(ROUNDS):
        rotation, error = rotation_between(source, (target - centre) / factor + centre, intrinsics_px)
        rays = rays_of(source, intrinsics_px) @ rotation.T
        turned = intrinsics_px[:2] * rays[:, :2] / rays[:, 2:]
        weight = 1 / (1 + np.square(error))[:, None]
        factor = float((weight * turned * (target - centre)).sum() / (weight * turned**2).sum())
    return factor, error * factor
