"""Where the edges of many clips stand in the systems of bundle adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.arrays import Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """Systems of b clips: k rows for source frames in each, d slots for edges in each row; some stay empty.

    Attributes:
      edge: (s,) int64 edge in each of the s = b k d slots, -1 for none.
      source, target: (s,) int64 frames of these edges; any frame where there is none.
      source_column, target_column: (s,) int64 pose of the edges' ends within their clip; `poses` for fixed ones.
      frame: (b k,) int64 source frame of each row, -1 for none.
      used_frame: (m,) int64 these frames, and used_row: (m,) int64 their rows.
      free: (p,) int64 frames whose poses move, and free_place: (p,) int64 their places among b * poses.
      clips: (b,) int64 numbers of the clips.
      shape: b, k, d.
      poses: columns of poses of a clip.
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    source_column: Tensor
    target_column: Tensor
    frame: Tensor
    used_frame: Tensor
    used_row: Tensor
    free: Tensor
    free_place: Tensor
    clips: Tensor
    shape: tuple[int, int, int]
    poses: int

    @property
    def ends(self) -> tuple[Tensor, ...]:
        """Of the edges in the slots."""
        return self.edge, self.source, self.target, self.source_column, self.target_column

    @property
    def variables(self) -> int:
        """Of a clip's system: six a pose, and the focal length."""
        return 6 * self.poses + 1


def plan_bundle(
    source: Int64Array, target: Int64Array, clip_of: Int64Array, free: Sequence[Int64Array], device: torch.device
) -> BundlePlan:
    """Lays out the systems.

    Args:
      source, target: (e,) frames of the edges.
      clip_of: (f,) clip of each frame.
      free: for each clip, the frames whose poses move.
      device: where it is solved.
    """
    clips, member = np.unique(clip_of[source], return_inverse=True)
    order = np.lexsort((target, source, member))
    frames, first, row_of = np.unique(source[order], return_index=True, return_inverse=True)
    clip_of_frame = np.searchsorted(clips, clip_of[frames])
    row = np.arange(len(frames)) - np.searchsorted(clip_of_frame, clip_of_frame)
    slot = np.arange(len(order)) - first[row_of]
    shape = (len(clips), int(row.max()) + 1, int(slot.max()) + 1)
    rows = clip_of_frame * shape[1] + row
    poses = max(max(len(free[c]) for c in clips), 1)
    column = np.full(len(clip_of), poses)
    for c in clips:
        column[free[c]] = np.arange(len(free[c]))
    moving = np.concatenate([free[c] for c in clips]).astype(np.int64)

    def spread(values: Int64Array, places: Int64Array, size: int, empty: int) -> Int64Array:
        out = np.full(size, empty)
        out[places] = values
        return out

    places, size = rows[row_of] * shape[2] + slot, int(np.prod(shape))
    columns = {
        "edge": spread(order, places, size, -1),
        "source": spread(source[order], places, size, 0),
        "target": spread(target[order], places, size, 0),
        "source_column": spread(column[source[order]], places, size, poses),
        "target_column": spread(column[target[order]], places, size, poses),
        "frame": spread(frames, rows, shape[0] * shape[1], -1),
        "used_frame": frames,
        "used_row": rows,
        "free": moving,
        "free_place": np.searchsorted(clips, clip_of[moving]) * poses + column[moving],
        "clips": clips,
    }
    # One transfer for all.
    flat = torch.from_numpy(np.concatenate(list(columns.values())).astype(np.int64)).to(device, non_blocking=True)
    parts = flat.split([len(values) for values in columns.values()])
    return BundlePlan(**dict(zip(columns, parts, strict=True)), shape=shape, poses=poses)
