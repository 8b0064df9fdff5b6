"""Zooms told from a camera that moves forward: all depths grow alike, which no motion of the camera does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array
from models.sfm.rotation import rotations_between
from models.sfm.tracks import PairPoints, Tracks
from models.sfm.triangulation import rays_of
from native.elementary import log

MIN_COMMON_POINTS = 60
MIN_ZOOM = 1.1
MEDIAN_PX = 0.8
TAIL_PX = 2.0
GROWTH = 2.0
"""Limits grow by so much for each factor of e of the zoom: points are followed less exactly while they grow."""
MAX_SHARE_OFF = 0.25
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


def find_zoom(tracks: Tracks, intrinsics_px: Float64Array) -> Zoom | None:
    """The strongest zoom between frames far apart, or None where another motion explains the clip.

    From each frame the farthest one that shares enough points is compared with it: a rotation and a change of scale
    about the principal point must explain most pairs whose scale changes. A camera that moves toward a flat wall
    looks the same, and is taken for a zoom too: nothing tells them apart.
    """
    seen = tracks.is_seen
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(seen) - 1, max(1, len(seen) // 12)):
        enough = np.flatnonzero((seen[first + 1 :] & seen[first]).sum(axis=1) >= MIN_COMMON_POINTS)
        if len(enough):
            pairs.append((first, first + 1 + int(enough[-1])))
    if not pairs:
        return None
    first, second = np.array(pairs).T
    factor, error = _scales_between(tracks.of_pairs(first, second), intrinsics_px)
    strength = np.abs(log(factor))
    is_strong = strength >= math.log(MIN_ZOOM)
    slack = 1 + GROWTH * strength
    is_off = (np.nanmedian(error, axis=1) > MEDIAN_PX * slack) | (np.nanpercentile(error, 80, axis=1) > TAIL_PX * slack)
    # Over long stretches points wander off: a few pairs may be off.
    if not is_strong.any() or is_off[is_strong].mean() > MAX_SHARE_OFF:
        return None
    strongest = int(np.where(is_off, 0.0, strength).argmax())
    return Zoom(int(first[strongest]), int(second[strongest]), float(factor[strongest]))


def _scales_between(points: PairPoints, intrinsics_px: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(b,) changes of scale about the principal point that, with rotations, explain pixels best, and (b, k) errors."""
    center = intrinsics_px[2:]
    target = points.target - center
    factor = np.ones(len(target))
    for _ in range(ROUNDS):
        shrunk = target / factor[:, None, None] + center
        rotation, error = rotations_between(points.source, shrunk, points.is_common, intrinsics_px)
        rays = rays_of(points.source, intrinsics_px) @ np.swapaxes(rotation, 1, 2)
        turned = intrinsics_px[:2] * rays[..., :2] / rays[..., 2:]
        weight = np.nan_to_num(1 / (1 + np.square(error)))[..., None]
        factor = (weight * turned * target).sum(axis=(1, 2)) / (weight * turned**2).sum(axis=(1, 2))
    return factor, error * factor[:, None]
