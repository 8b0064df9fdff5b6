"""Members of a WebDataset sample, in reproducible bytes.

What each holds; arrays are .npy or .npz without pickle.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from core.arrays import BoolArray, Float16Array, Float64Array

T = TypeVar("T")
_MAX_EMPTY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array of a sample: dtype, shape, meaning, and representation of missing values.

    The meaning includes unit and frame of reference.
    """

    dtype: str
    shape: tuple[str, ...]
    meaning: str
    missing: str = "none"

    def empty(self) -> npt.NDArray[Any]:
        """An array without values: (0,), (1, 0), ...

        Readers that infer nested lists find the type in each.
        """
        return np.zeros((1,) * (len(self.shape) - 1) + (0,), self.dtype)


ARRAY_MEMBERS: Mapping[str, Mapping[str, ArraySpec]] = {
    "poses.npy": {
        "": ArraySpec(
            "float64",
            ("n", "7"),
            "cam_from_world, tx ty tz qx qy qz qw: maps world to camera coordinates; camera axes x right, y down, z "
            "forward; translation in meters or in a relative unit (`pose_scale`)",
            "NaN: no pose",
        )
    },
    "intrinsics.npy": {
        "": ArraySpec("float64", ("n", "4"), "fx fy cx cy in pixels of the clip, pixel centers at integers")
    },
    "frames.npy": {"": ArraySpec("int64", ("n", "2"), "ordinal (0, 1, ...) and frame index in the clip")},
    "times.npy": {"": ArraySpec("float64", ("n",), "seconds since the clip's first frame")},
    "poses_dense.npy": {
        "": ArraySpec(
            "float64", ("frames of the clip", "7"), "like poses.npy, for each frame of the clip", "NaN: no pose"
        )
    },
    "depth.npz": {
        "depth": ArraySpec("float16", ("n", "h", "w"), "z-depth (not ray length) in the poses' unit", "0"),
        "valid": ArraySpec("bool", ("n", "h", "w"), "whether the pixel has a depth"),
        "sigma_permille": ArraySpec(
            "uint8", ("n", "h", "w"), "standard deviation of the depth in thousandths of it, at most 254", "255"
        ),
        "clip_size": ArraySpec("int64", ("2",), "width and height of the clip in pixels"),
        "map_from_clip": ArraySpec(
            "float64",
            ("4",),
            "sx sy ox oy: x in the map = sx * x in the clip + ox, y likewise; pixel centers at integers",
        ),
    },
    "dyn_masks.npz": {
        "indices": ArraySpec("int32", ("moving pixels",), "columns of the moving pixels, row by row (CSR)"),
        "indptr": ArraySpec(
            "int64",
            ("n * h + 1",),
            "`indices[indptr[r]:indptr[r + 1]]` are those of row r % h of the mask of annotated frame r // h",
            "no moving pixel",
        ),
        "shape": ArraySpec("int64", ("3",), "n h w"),
    },
}
"""Arrays by member and key; the one array of a .npy file has the key ""."""

JSON_MEMBERS: Mapping[str, str] = {
    "instructions.json": 'camera motion labels: `{"<first>-><end>": [labels]}`, ordinals of annotated frames',
    "caption.json": "caption and tags under SpatialVID's keys; what is unknown is left out",
}
"""Meaning of the JSON members, apart from the sample's own row (`json`)."""


def empty_member(suffix: str) -> bytes:
    """Bytes of a member that a clip lacks: `{}`, or arrays of size 0."""
    if suffix in JSON_MEMBERS:
        return b"{}"
    arrays = {key: spec.empty() for key, spec in ARRAY_MEMBERS[suffix].items()}
    return npy_bytes(arrays[""]) if "" in arrays else npz_bytes(arrays)


def complete_members(files: Mapping[str, T]) -> dict[str, T | bytes]:
    """The members of a sample by suffix, in one order.

    Where a clip has nothing they are empty.
    """
    known = (*ARRAY_MEMBERS, *JSON_MEMBERS)
    others = {suffix: data for suffix, data in files.items() if suffix not in known}
    return others | {suffix: files[suffix] if suffix in files else empty_member(suffix) for suffix in known}


def is_empty_member(suffix: str, data: bytes) -> bool:
    """Whether a member is empty: the clip has nothing of its kind."""
    if len(data) > _MAX_EMPTY_BYTES:
        return False
    if suffix in JSON_MEMBERS:
        return not json.loads(data)
    if suffix not in ARRAY_MEMBERS:
        return False
    if suffix.endswith(".npy"):
        return read_npy(data).size == 0
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return all(file[name].size == 0 for name in file.files)


def without_missing(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object without nulls and empty lists, at any depth of objects.

    Readers that infer types from the first samples would take a column of nulls for one that can hold nothing else.
    """
    pruned = {key: without_missing(v) if isinstance(v, Mapping) else v for key, v in document.items()}
    return {key: value for key, value in pruned.items() if value is not None and value not in ([], ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMaps:
    """The depth maps of a clip.

    Attributes:
      depth: (n, h, w) float16 z-depth in units of the camera poses, 0 where not valid.
      is_valid: (n, h, w) bool.
      map_from_clip: (4,) sx, sy, ox, oy: x_map = sx * x_clip + ox, y likewise; pixel centers at integers.
    """

    depth: Float16Array
    is_valid: BoolArray
    map_from_clip: Float64Array


def npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """Bytes of a .npy file of an array; object arrays are refused."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Bytes of a compressed .npz file of named arrays; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_arrays(archive, arrays)
    return buffer.getvalue()


def write_arrays(archive: zipfile.ZipFile, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Appends named arrays to an .npz archive."""
    for name, array in arrays.items():
        with open_npy(archive, name, array.dtype, array.shape) as member:
            member.write(array.tobytes())


def open_npy(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> IO[bytes]:
    """Opens a new array of an .npz archive for writing its data in C order.

    NumPy always requests ZIP64, whose headers differ between releases of Python 3.11; here only arrays of 2 GiB and
    more use it.
    """
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    member.file_size = math.prod(shape) * dtype.itemsize
    file = archive.open(member, "w")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def masks_bytes(is_moving: BoolArray) -> bytes:
    """Bytes of an .npz file of (n, h, w) dynamic masks, True = moving.

    In SpatialVID's layout.

    One CSR matrix per frame (`f_<i>_data`, `_indices`, `_indptr`), and `shape` (h, w).
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for index, mask in enumerate(is_moving):
        arrays |= mask_arrays(index, mask)
    arrays["shape"] = np.asarray(is_moving.shape[1:], np.int64)
    return npz_bytes(arrays)


def mask_arrays(index: int, mask: BoolArray) -> dict[str, npt.NDArray[np.generic]]:
    """CSR arrays of the (h, w) mask of frame `index`."""
    rows, columns = np.nonzero(mask)
    return {
        f"f_{index}_data": np.ones(len(rows), bool),
        f"f_{index}_indices": columns.astype(np.int32),
        f"f_{index}_indptr": np.searchsorted(rows, np.arange(mask.shape[0] + 1)).astype(np.int32),
    }


def pack_masks(source: str | Path, target: str | Path) -> None:
    """Writes a sample's dyn_masks.npz: all masks as one CSR matrix.

    From an .npz in SpatialVID's layout.

    SpatialVID's names depend on the number of frames, which readers that infer one type for all samples cannot hold.
    One frame is in memory at a time.
    """
    with np.load(source, allow_pickle=False) as file, zipfile.ZipFile(target, "w") as archive:
        height, width = file["shape"].tolist()
        count = (len(file.files) - 1) // 3
        indptr = np.zeros(count * height + 1, np.int64)
        for index in range(count):
            first = index * height
            indptr[first + 1 : first + height + 1] = indptr[first] + file[f"f_{index}_indptr"][1:]
        with open_npy(archive, "indices", np.dtype(np.int32), (int(indptr[-1]),)) as member:
            for index in range(count):
                member.write(file[f"f_{index}_indices"].tobytes())
        write_arrays(archive, {"indptr": indptr, "shape": np.array([count, height, width], np.int64)})


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a .npy file; pickled data is refused."""
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def read_depth(data: bytes) -> DepthMaps:
    """Depth maps of a `depth.npz`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return DepthMaps(depth=file["depth"], is_valid=file["valid"], map_from_clip=file["map_from_clip"])


def read_masks(data: bytes) -> BoolArray:
    """(n, h, w) bool dynamic masks, True = moving, of a `dyn_masks.npz`.

    A sample's, or one in SpatialVID's layout.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        if "indptr" in file:
            masks = np.zeros(file["shape"], bool)
            width, indptr = masks.shape[2], file["indptr"]
            rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            masks.reshape(-1, width)[rows, file["indices"]] = True
            return masks
        height, width = file["shape"].tolist()
        count = (len(file.files) - 1) // 3
        masks = np.zeros((count, height, width), bool)
        for index in range(count):
            indptr = file[f"f_{index}_indptr"]
            rows = np.repeat(np.arange(height), np.diff(indptr))
            masks[index, rows, file[f"f_{index}_indices"]] = file[f"f_{index}_data"]
    return masks
