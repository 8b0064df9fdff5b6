"""The tables of a finished run: Arrow schemas of the columns that `core.schema` gathers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from core.columns import Column
from core.schema import CLIP_COLUMNS, FAILURE_COLUMNS, SHOT_COLUMNS, VIDEO_COLUMNS

CONVENTIONS = {
    "time": "Presentation timestamps: seconds = pts * time_base, from the container's origin. Intervals are "
    "[start, end). Frame numbers are 0-based display indices, for constant and variable frame rates.",
    "size": "width and height are those of the upright image (rotation applied), in source pixels.",
    "luminance": "0.2126 R + 0.7152 G + 0.0722 B on gamma-coded values, 0 to 255.",
    "motion": "motion_score is the mean of libvmaf's integer_motion2 over the clip's frames at native size, "
    "in 8-bit luma units a frame; motion_normalized is the mean absolute change of the 64x36 luma thumbnail "
    "in 0.1 s, comparable across resolutions and frame rates.",
    "cameras": "Axes x right, y down, z forward; pixel centers at integers. poses.npy holds cam_from_world "
    "[tx ty tz qx qy qz qw], which maps world to camera coordinates; the world is the first annotated camera that has "
    "a pose. Frames without one are NaN. Scale is relative: the 98th percentile of the scene's inverse depth is 2. "
    "intrinsics.npy holds fx fy cx cy in pixels of the clip. frames.npy says which frame of the clip each row belongs "
    "to (ordinal, frame index), times.npy when it is: seconds since the clip's first frame. poses_dense.npy, where "
    "there is one, has a row for each frame of the clip, by frame index, in the same world and unit; NaN before the "
    "first and behind the last annotated frame of the part with poses.",
    "depth": "depth.npz holds z-depth (not ray length) in the poses' unit, 0 where valid is false; sigma_permille is "
    "its standard deviation in thousandths of it (at most 254; 255 where not valid); map_from_clip "
    "[sx sy ox oy] takes a clip pixel to map coordinates. Dynamic masks: true = moving; an empty one of a frame "
    "without a pose may mean that nothing is known. Frames without a pose have no depth.",
    "missing": "A value that could not be computed is null, never a number; a reason column says why. In a sample's "
    "JSON it is left out; of what a clip does not have its sample holds a file of arrays of size 0, or {}.",
    "status": "kept, rejected (see rejection_reasons) or failed (see failure_class). "
    "Clips found = kept + rejected + failed.",
}


ARROW_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[str]: pa.list_(pa.string()),
    list[int]: pa.list_(pa.int64()),
}
_EXTRA_TYPES = {"string": str, "int64": int, "double": float, "bool": bool, "null": str}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table of the run.

    Attributes:
      name: folder is `<name>.parquet`.
      sort_key: columns that order the rows.
      extra_types: further manifest columns, by name.
    """

    name: str
    columns: tuple[Column, ...]
    sort_key: tuple[str, ...]
    extra_types: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of all columns in order, those of the manifest last."""
        return [*(c.name for c in self.columns), *(name for name, _ in self.extra_types)]

    def schema(self) -> pa.Schema:
        """Arrow schema with the meaning of each column and the run's conventions as metadata."""
        described = [(c.name, c.type, c.description) for c in self.columns]
        described += [(name, _EXTRA_TYPES[kind], "column of the manifest") for name, kind in self.extra_types]
        fields = [pa.field(name, ARROW_TYPES[kind], metadata={"meaning": text}) for name, kind, text in described]
        return pa.schema(fields, metadata={"conventions": json.dumps(CONVENTIONS, sort_keys=True)})


def table_specs(extra_types: Mapping[str, str]) -> dict[str, TableSpec]:
    """All tables of a run by name.

    Args:
      extra_types: carried manifest columns: name to "string", "int64", "double", "bool" or "null" (text).
    """
    extra = tuple(sorted(extra_types.items()))
    specs = (
        TableSpec("clips", CLIP_COLUMNS, ("clip_id",), extra),
        TableSpec("videos", VIDEO_COLUMNS, ("video_id",), extra),
        TableSpec("shots", SHOT_COLUMNS, ("video_id", "shot_index")),
        TableSpec("failures", FAILURE_COLUMNS, ("item", "key", "source_uri", "stage")),
    )
    return {spec.name: spec for spec in specs}


RESERVED_COLUMNS = frozenset(c.name for c in (*CLIP_COLUMNS, *VIDEO_COLUMNS))
