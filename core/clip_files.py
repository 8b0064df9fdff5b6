"""Reading the files that a shard holds of a clip: arrays, depth maps, dynamic masks. Nothing pickled is ever loaded."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMaps:
    """The depth maps of a clip.

    Attributes:
      depth: (n, h, w) float16 z-depth in the poses' unit, 0 where not valid.
      is_valid: (n, h, w) bool.
      map_from_clip: (4,) sx, sy, ox, oy: x in the map is sx * x in the clip + ox, pixel centres at integers.
    """

    depth: npt.NDArray[np.float16]
    is_valid: npt.NDArray[np.bool_]
    map_from_clip: npt.NDArray[np.float64]


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a .npy file; refuses pickled ones."""
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def read_depth(data: bytes) -> DepthMaps:
    """The maps of a `depth.npz`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return DepthMaps(depth=file["depth"], is_valid=file["valid"], map_from_clip=file["map_from_clip"])


def read_masks(data: bytes) -> npt.NDArray[np.bool_]:
    """(n, h, w) bool masks, true = moving, of a `dyn_masks.npz`: one CSR matrix a frame, SpatialVID's layout."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        height, width = file["shape"].tolist()
        count = (len(file.files) - 1) // 3
        masks = np.zeros((count, height, width), bool)
        for index in range(count):
            indptr = file[f"f_{index}_indptr"]
            rows = np.repeat(np.arange(height), np.diff(indptr))
            masks[index, rows, file[f"f_{index}_indices"]] = file[f"f_{index}_data"]
    return masks
