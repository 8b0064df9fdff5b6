"""Index layout of the normal equations of many clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.arrays import Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """Padded layout of b clips' systems: k source frames (rows), d edges (slots) each.

    Attributes:
      edge: (s,) int64 edge in each of the s = b k d slots, -1 if empty.
      source, target: (s,) int64 frames of these edges; arbitrary in empty slots.
      source_column, target_column: (s,) int64 index of the edges' poses within their clip; `poses` if fixed.
      frame: (b k,) int64 source frame of each row, -1 if empty.
      used_frame: (m,) int64 the source frames, and used_row: (m,) int64 their rows.
      free: (p,) int64 frames with free poses, and free_index: (p,) int64 their indices among b * poses.
      clips: (b,) int64 indices of the clips.
      shape: b, k, d.
      poses: most free poses of a clip.
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
    free_index: Tensor
    clips: Tensor
    shape: tuple[int, int, int]
    poses: int

    @property
    def ends(self) -> tuple[Tensor, ...]:
        """Edge, frames and pose columns of each slot."""
        return self.edge, self.source, self.target, self.source_column, self.target_column

    @property
    def variables(self) -> int:
        """Number of variables of a clip's system: six per pose, and the focal length."""
        return 6 * self.poses + 1


def plan_bundle(
    source: Int64Array, target: Int64Array, clip_of: Int64Array, free: Sequence[Int64Array], device: torch.device
) -> BundlePlan:
    """Layout of the systems of all clips that have edges.

    Args:
      source, target: (e,) frames of the edges.
      clip_of: (f,) clip of each frame.
      free: for each clip, the frames with free poses.
      device: of the result.
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
    free_frames = np.concatenate([free[c] for c in clips]).astype(np.int64)

    def scatter(values: Int64Array, index: Int64Array, size: int, empty: int) -> Int64Array:
        out = np.full(size, empty)
        out[index] = values
        return out

    slots, size = rows[row_of] * shape[2] + slot, int(np.prod(shape))
    columns = {
        "edge": scatter(order, slots, size, -1),
        "source": scatter(source[order], slots, size, 0),
        "target": scatter(target[order], slots, size, 0),
        "source_column": scatter(column[source[order]], slots, size, poses),
        "target_column": scatter(column[target[order]], slots, size, poses),
        "frame": scatter(frames, rows, shape[0] * shape[1], -1),
        "used_frame": frames,
        "used_row": rows,
        "free": free_frames,
        "free_index": np.searchsorted(clips, clip_of[free_frames]) * poses + column[free_frames],
        "clips": clips,
    }
    # One host-to-device copy for all.
    flat = torch.from_numpy(np.concatenate(list(columns.values())).astype(np.int64)).to(device, non_blocking=True)
    parts = flat.split([len(values) for values in columns.values()])
    return BundlePlan(**dict(zip(columns, parts, strict=True)), shape=shape, poses=poses)
