"""Zoom detection: image scale changes that are equal at all depths.

So they are not camera translation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array
from models.sfm.rotation import estimate_rotations
from models.sfm.tracks import Correspondences, Tracks
from models.sfm.triangulation import unproject
from native.elementary import log

MIN_COMMON_POINTS = 60
MIN_ZOOM = 1.1
MAX_MEDIAN_PX = 0.8
MAX_TAIL_PX = 2.0
LIMIT_GROWTH = 2.0
"""Error limits grow by this for each factor of e of the zoom, since tracking is less exact under scale change."""
MAX_OUTLIER_RATIO = 0.25
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Zoom:
    """A scale change of the image without parallax between two frames.

    Attributes:
      first, second: frames, first < second.
      factor: focal length of the second over that of the first.
    """

    first: int
    second: int
    factor: float

    @property
    def reason(self) -> str:
        """Failure reason of a clip with this zoom."""
        change = "grows" if self.factor > 1 else "shrinks"
        strength = max(self.factor, 1 / self.factor)
        return (
            f"the image {change} by a factor of {strength:.2f} between annotated frames {self.first} and {self.second} "
            "without parallax: a zoom, or a camera moving straight at a flat scene"
        )


def detect_zoom(tracks: Tracks, intrinsics_px: Float64Array) -> Zoom | None:
    """The strongest zoom between two distant frames, or None if the clip has none.

    Each sampled frame is paired with the farthest one that shares enough tracks. Of the pairs with a scale change, most
    must fit a rotation and a scaling about the principal point. A camera moving toward a fronto-parallel plane is
    degenerate: it gives the same images, and counts as a zoom.
    """
    tracked = tracks.is_tracked
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(tracked) - 1, max(1, len(tracked) // 12)):
        enough = np.flatnonzero((tracked[first + 1 :] & tracked[first]).sum(axis=1) >= MIN_COMMON_POINTS)
        if len(enough):
            pairs.append((first, first + 1 + int(enough[-1])))
    if not pairs:
        return None
    first, second = np.array(pairs).T
    factor, error = _estimate_zoom_factors(tracks.correspondences(first, second), intrinsics_px)
    strength = np.abs(log(factor))
    is_strong = strength >= math.log(MIN_ZOOM)
    slack = 1 + LIMIT_GROWTH * strength
    median, tail = np.nanmedian(error, axis=1), np.nanpercentile(error, 80, axis=1)
    is_outlier = (median > MAX_MEDIAN_PX * slack) | (tail > MAX_TAIL_PX * slack)
    # Tracks drift over long spans: a few pairs may be outliers.
    if not is_strong.any() or is_outlier[is_strong].mean() > MAX_OUTLIER_RATIO:
        return None
    strongest = int(np.where(is_outlier, 0.0, strength).argmax())
    return Zoom(int(first[strongest]), int(second[strongest]), float(factor[strongest]))


def _estimate_zoom_factors(matches: Correspondences, intrinsics_px: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(b,) robust scale factors about the principal point, and (b, k) pixel errors."""
    center = intrinsics_px[2:]
    target = matches.target - center
    factor = np.ones(len(target))
    for _ in range(ROUNDS):
        unscaled = target / factor[:, None, None] + center
        rotation, error = estimate_rotations(matches.source, unscaled, matches.is_common, intrinsics_px)
        rays = unproject(matches.source, intrinsics_px) @ np.swapaxes(rotation, 1, 2)
        rotated = intrinsics_px[:2] * rays[..., :2] / rays[..., 2:]
        weight = np.nan_to_num(1 / (1 + np.square(error)))[..., None]
        factor = (weight * rotated * target).sum(axis=(1, 2)) / (weight * rotated**2).sum(axis=(1, 2))
    return factor, error * factor[:, None]
