"""Points looked for again where the map says they should be seen: places without drift, and longer tracks.

Corners that are followed from frame to frame wander off by a little at each step, and are lost for good behind
an obstacle or the border. Once poses and depths are known, every point's patch from one frame, warped as its depth
and those around it tell, is aligned with all frames that it should be seen in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from models.sfm.patch_slopes import inverse_depth_slopes
from models.sfm.reconstruction import MIN_DEPTH_RATIO, Reconstruction
from models.sfm.triangulation import into_frames, rays_of
from native.patch_alignment import align_patches

RADIUS_PX = 4
MIN_MATCH = 0.85
MAX_SHIFT_PX = 3.0
MAX_SCALE = 2.5
NEAR_FRAMES = 12
FAR_FRAMES = 40
"""A point is looked for in the frames near its anchor and in about so many of all others: cost is linear in frames."""
MIN_FRAMES = 3
"""Points that fewer frames see are given up: they tell little, and cost as much."""


PICTURE_NOISE = 6.0
"""Gray levels by which compressed video is off: what is faint is placed less exactly than what stands out."""
MISMATCH_PX2 = 0.2
"""Variance for each unit of correlation that is lacking, as where a patch is not flat or partly hidden."""
LEAST_NOISE_PX = 0.1


class _Expected(NamedTuple):
    """Where a frame should see points: their numbers, places, and warps back to their anchor frames."""

    which: Int64Array
    place: Float64Array
    warp: Float64Array


def reobserve(mapper: Reconstruction, gray: Sequence[UInt8Array], num_threads: int = 1) -> None:
    """Replaces the observations of all points with a depth by those of their patches in all posed frames.

    Args:
      mapper: poses, depths and observations; its points get the middle one of the frames that see them as anchor.
      gray: (h, w) uint8 frames.
      num_threads: most threads to use.
    """
    seen = (mapper.is_used & mapper.is_registered[:, None]).sum(axis=0)
    mapper.inverse_depth[seen < MIN_FRAMES] = np.nan
    mapper.move_anchors()
    points = np.flatnonzero(np.isfinite(mapper.inverse_depth))
    if not len(points):
        return
    pictures = np.stack(gray)
    anchor = mapper.anchor[points]
    at = mapper.position[anchor, points]
    slope = inverse_depth_slopes(mapper, points)
    expected = [
        _expect(mapper, points, slope, f, pictures.shape[1:]) for f in np.flatnonzero(mapper.is_registered).tolist()
    ]
    frame = np.repeat(np.flatnonzero(mapper.is_registered), [len(e.which) for e in expected])
    which = np.concatenate([e.which for e in expected])
    place = np.concatenate([e.place for e in expected])
    found, match, spread = align_patches(
        pictures,
        anchor[which],
        frame,
        at[which],
        place,
        np.concatenate([e.warp for e in expected]),
        radius_px=RADIUS_PX,
        num_threads=num_threads,
    )
    with np.errstate(invalid="ignore"):
        good = (match > MIN_MATCH) & (np.linalg.norm(found - place, axis=1) < MAX_SHIFT_PX)
    mapper.position = mapper.position.copy()  # the tracks stay as they are
    mapper.is_used[:, points] = False
    mapper.is_used[anchor, points] = True
    seen_in = frame[good], points[which[good]]
    mapper.position[seen_in] = found[good]
    mapper.is_used[seen_in] = True
    mapper.weight = np.ones(mapper.is_used.shape, np.float32)
    mapper.weight[seen_in] = _weights(match[good], spread[good])


def _weights(match: Float32Array, spread_px: Float32Array) -> Float32Array:
    """(k,) inverse variances of places, 1 in the median."""
    variance = (PICTURE_NOISE * spread_px) ** 2 + MISMATCH_PX2 * (1 - match) + LEAST_NOISE_PX**2
    return np.asarray(np.median(variance) / variance if len(variance) else variance, np.float32)


def _expect(
    mapper: Reconstruction, points: Int64Array, slope: Float64Array, frame: int, size: tuple[int, ...]
) -> _Expected:
    """Points that a frame should see well inside the picture, at a scale not far from their anchor's."""
    apart = np.abs(mapper.anchor[points] - frame)
    is_wanted = (apart > 0) & ((apart <= NEAR_FRAMES) | (apart % -(-len(mapper.is_registered) // FAR_FRAMES) == 0))
    which = np.flatnonzero(is_wanted)
    place, depth_ratio = _project(mapper, points[which], slope[which], (0.0, 0.0), frame)
    margin = RADIUS_PX + 1
    is_inside = ((place >= margin) & (place < np.array(size[::-1]) - 1 - margin)).all(axis=1)
    is_seen = is_inside & (depth_ratio > MIN_DEPTH_RATIO)
    which, place = which[is_seen], place[is_seen]
    beside, _ = _project(mapper, points[which], slope[which], (1.0, 0.0), frame)
    below, _ = _project(mapper, points[which], slope[which], (0.0, 1.0), frame)
    target_from_source = np.stack([beside - place, below - place], axis=2)
    scale = np.sqrt(np.maximum(np.linalg.det(target_from_source), 0.0))
    is_alike = (scale < MAX_SCALE) & (scale > 1 / MAX_SCALE)
    warp = np.asarray(np.linalg.inv(target_from_source[is_alike]), np.float64)
    return _Expected(which[is_alike], place[is_alike], warp)


def _project(
    mapper: Reconstruction, points: Int64Array, slope: Float64Array, shift: tuple[float, float], frame: int
) -> tuple[Float64Array, Float64Array]:
    """(k, 2) places in a frame of what is seen a shift off the points in their anchors, and (k,) ratios of depths."""
    anchor = mapper.anchor[points]
    rays = rays_of(mapper.position[anchor, points] + shift, mapper.intrinsics_px)
    direction, center = into_frames(
        mapper.cam_from_world, anchor, rays, np.full(len(points), frame), np.arange(len(points))
    )
    inverse_depth = mapper.inverse_depth[points] + slope @ np.array(shift)
    x, y, z = (direction + inverse_depth[:, None] * center).T
    fx, fy, cx, cy = mapper.intrinsics_px
    height = np.maximum(z, MIN_DEPTH_RATIO)
    return np.stack([fx * x / height + cx, fy * y / height + cy], axis=1), z
