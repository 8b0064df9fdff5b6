"""Why a map is not fit for use, in words for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Int64Array
from models.sfm.reconstruction import Reconstruction
from models.sfm.triangulation import NOISE_PX, solve_depths

MIN_LINKS = 10
MIN_LINK_SHARE = 0.1
MAX_REPROJECTION_PX = 2.0
MIN_REGISTERED_SHARE = 0.5
MIN_EXPLAINED_SHARE = 0.65
MIN_NOISE_PX = 0.1
MIN_CERTAINTY = 40.0
"""Real clips with good poses have 125 or more, and TUM fr1/rpy, whose camera hardly leaves its place, 17 to 25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseFailure:
    """Why poses are not fit for use, and the frames that have too little in common with the next, if it is that."""

    reason: str
    breaks: tuple[int, ...] = ()


def check_tracking(mapper: Reconstruction) -> PoseFailure | None:
    """Why a map is not fit for use that explains too little of what was followed from frame to frame."""
    seen = np.isfinite(mapper.position[..., 0]) & mapper.is_registered[:, None]
    long = seen.sum(axis=0) >= 3
    explained = mapper.is_used[:, long] & np.isfinite(mapper.inverse_depth[long]) & seen[:, long]
    share = float(explained.sum() / max(1, seen[:, long].sum()))
    if share < MIN_EXPLAINED_SHARE:
        return PoseFailure(
            reason=f"only {share:.0%} of the followed points fit one still scene: most of what is seen moves"
        )
    return None


def check_reconstruction(mapper: Reconstruction, reprojection_px: float | None) -> PoseFailure | None:
    """Why the poses of a finished map are not fit for use.

    Args:
      mapper: the map.
      reprojection_px: root mean square error of its points' images; None without points.
    """
    registered = mapper.is_registered
    if registered.mean() < MIN_REGISTERED_SHARE:
        edges = np.flatnonzero(registered[1:] != registered[:-1])
        return PoseFailure(
            reason=f"only {registered.sum()} of {len(registered)} annotated frames could be placed",
            breaks=tuple(edges.tolist()),
        )
    if reprojection_px is None:
        return PoseFailure(reason="no point is seen by two frames in the places that one still scene would give it")
    if reprojection_px > MAX_REPROJECTION_PX:
        return PoseFailure(
            reason=f"points are off by {reprojection_px:.1f} px: the scene moves, or the camera does not fit a pinhole"
        )
    placed = np.flatnonzero(registered)
    links, seen = _num_links(mapper)
    links, seen = links[placed[:-1]], np.minimum(seen[placed[:-1]], seen[placed[1:]])
    weak = np.flatnonzero(links < np.maximum(MIN_LINKS, MIN_LINK_SHARE * seen))
    if len(weak):
        first, second = placed[weak[0]], placed[weak[0] + 1]
        return PoseFailure(
            reason=f"annotated frames {first} and {second} are linked by {links[weak[0]]} points only (a cut or blur?)",
            breaks=tuple(placed[weak].tolist()),
        )
    if certainty_of(mapper) < MIN_CERTAINTY:
        return PoseFailure(
            reason="most depths are uncertain: the camera hardly leaves its place, so that its translation is not "
            "known well"
        )
    return None


def _num_links(mapper: Reconstruction) -> tuple[Int64Array, Int64Array]:
    """Points with a depth and seen where the map says: (n - 1,) both up to a frame and after it, (n,) in each frame."""
    seen = (mapper.is_used & mapper.is_registered[:, None])[:, np.isfinite(mapper.inverse_depth)]
    seen = seen[:, seen.any(axis=0)]
    first, last = seen.argmax(axis=0), len(seen) - 1 - seen[::-1].argmax(axis=0)
    changes = np.bincount(first, minlength=len(seen)) - np.bincount(last, minlength=len(seen))
    return np.asarray(np.cumsum(changes)[:-1], np.int64), np.asarray(seen.sum(axis=1), np.int64)


def certainty_of(mapper: Reconstruction) -> float:
    """Inverse depth over its deviation that a quarter of the points exceeds, for places as exact as they turned out."""
    seen = mapper.is_used & mapper.is_registered[:, None]
    points = np.flatnonzero(np.isfinite(mapper.inverse_depth) & (seen.sum(axis=0) >= 2))
    if not len(points):
        return 0.0
    found = solve_depths(
        mapper.position[:, points], seen[:, points], mapper.anchor[points], mapper.cam_from_world, mapper.intrinsics_px
    )
    return float(np.percentile(found.inverse_depth / found.sigma, 75)) * NOISE_PX / max(mapper.noise_px(), MIN_NOISE_PX)
