"""Cross-validation of a reconstruction by solutions from disjoint halves of its tracks.

Residuals and depth maps of a reconstruction agree with its poses by construction, also where its scale broke. Solutions
that share no track and no initial pair have errors of their own: where they disagree, one cannot be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.initial_pair import find_initial_pairs, initialize_mapper
from models.sfm.reconstruction import Reconstruction
from models.sfm.tracks import Tracks
from native import se3

NUM_HALVES = 2
SPLIT_SEED = 7
MIN_FRAMES = 4
TINY = 1e-30
FAILED_HALF_RMSE = 0.05
MIN_SEGMENT_STEPS = 3
MIN_SEGMENT_RATIO = 0.1
"""Least share of the trajectory's length in each of two parts whose scales are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Differences of solutions from halves of the tracks to that of all.

    Attributes:
      position_rmse: root mean square distance of camera centers after Sim(3) alignment, as a share of the
        trajectory's length; the mean over the halves, `FAILED_HALF_RMSE` for one that cannot be mapped.
      scale_change: largest relative change of scale between the frames up to one and those after it, against the half
        that agrees better there: half of the tracks may be too few where all are enough.
      scale_change_frame: last frame before that change.
    """

    position_rmse: float
    scale_change: float
    scale_change_frame: int


def cross_validate(recon: Reconstruction, tracks: Tracks, num_threads: int) -> CrossValidation | None:
    """Compares a reconstruction with two from one half of its tracks each.

    None if there is nothing to compare.

    Each half starts from an initial pair of its own rank, with the intrinsics of the whole.
    """
    order = np.random.default_rng(SPLIT_SEED).permutation(tracks.keypoints_px.shape[1])
    distances = np.full(NUM_HALVES, FAILED_HALF_RMSE)
    changes = np.full((NUM_HALVES, len(recon.is_registered)), np.inf)
    for index in range(NUM_HALVES):
        part = Tracks(keypoints_px=tracks.keypoints_px[:, np.sort(order[index::NUM_HALVES])])
        half = _map_half(part, recon, index, num_threads)
        frames = np.flatnonzero(half.is_registered & recon.is_registered) if half is not None else np.zeros(0, int)
        if half is None or len(frames) < MIN_FRAMES:
            continue
        centers, reference = (np.asarray(se3.invert(r.cam_from_world[frames]))[:, :3] for r in (half, recon))
        distances[index] = _position_rmse(centers, reference)
        changes[index] = 0
        steps, change = _scale_changes(centers, reference)
        changes[index, frames[steps]] = change
    change = changes.min(axis=0)
    if not np.isfinite(change).all():
        return None
    frame = int(change.argmax())
    return CrossValidation(
        position_rmse=float(np.mean(distances)), scale_change=float(change[frame]), scale_change_frame=frame
    )


def _map_half(tracks: Tracks, recon: Reconstruction, rank: int, num_threads: int) -> Reconstruction | None:
    """Reconstruction from one half of the tracks; None if no pair has parallax."""
    pairs = find_initial_pairs(tracks, recon.intrinsics_px, NUM_HALVES)
    mapper = initialize_mapper(tracks, pairs[rank:] or pairs, [recon.intrinsics_px], False, num_threads)
    if mapper is None:
        return None
    mapper.register_frames(False)
    mapper.refine_globally(False)
    return mapper


def _position_rmse(centers: Float64Array, reference: Float64Array) -> float:
    """ATE RMSE after Sim(3) alignment (Umeyama 1991), as a share of path length."""
    p, q = centers - centers.mean(axis=0), reference - reference.mean(axis=0)
    u, values, vt = np.linalg.svd(q.T @ p)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = float((values * sign).sum()) / max(float(np.square(p).sum()), TINY)
    residual = q - scale * p @ ((u * sign) @ vt).T
    length = float(np.linalg.norm(np.diff(reference, axis=0), axis=1).sum())
    return float(np.sqrt(np.square(residual).sum(axis=1).mean())) / max(length, TINY)


def _scale_changes(centers: Float64Array, reference: Float64Array) -> tuple[Int64Array, Float64Array]:
    """Trajectory steps, and relative scale changes between the parts before and after each.

    A part's scale is the ratio of its path lengths, so that short, noisy steps count little.
    """
    ours, theirs = (np.linalg.norm(np.diff(c, axis=0), axis=1).cumsum() for c in (centers, reference))
    steps = np.arange(MIN_SEGMENT_STEPS - 1, len(ours) - MIN_SEGMENT_STEPS)
    progress = theirs[steps] / max(theirs[-1], TINY)
    steps = steps[(progress >= MIN_SEGMENT_RATIO) & (progress <= 1 - MIN_SEGMENT_RATIO)]
    if not len(steps):
        steps = np.array([len(ours) // 2 - 1])
    before = ours[steps] / np.maximum(theirs[steps], TINY)
    after = (ours[-1] - ours[steps]) / np.maximum(theirs[-1] - theirs[steps], TINY)
    return steps, np.maximum(before, after) / np.maximum(np.minimum(before, after), TINY) - 1
