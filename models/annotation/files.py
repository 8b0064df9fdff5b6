"""Size of the stored maps, and the annotation's small files; `map_files` writes the maps."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from core.arrays import Float64Array


def map_size(size: tuple[int, int], max_side_px: int) -> tuple[int, int]:
    """(width, height) of maps for frames of a size.

    The longer side is at most `max_side_px`.
    """
    scale = min(1.0, max_side_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def instructions_json(instructions: Mapping[str, Sequence[str]]) -> bytes:
    """Motion labels as JSON: `{"<first>-><end>": [labels]}`, indices of annotated frames."""
    return json.dumps(instructions, indent=2).encode()


def read_dynamic_ratios(data: bytes) -> Float64Array:
    """(n,) share of moving pixels in each mask of a file that `MasksFile` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        pixels = float(np.prod(file["shape"]))
        count = (len(file.files) - 1) // 3
        return np.array([len(file[f"f_{index}_indices"]) / pixels for index in range(count)])
