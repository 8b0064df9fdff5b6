"""File of a clip's monocular depth, from the depth stage to the annotation stage."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from core.arrays import Int64Array
from models.depth.mono_depth import DEPTH_KINDS, DepthKind, FrameDepths


class MonoDepthFile:
    """Writer of a clip's monocular depth, batch by batch, as float16."""

    def __init__(self) -> None:
        self._parts: list[dict[str, npt.NDArray[np.generic]]] = []
        self.num_bytes = 0

    def add(self, depths: Mapping[DepthKind, FrameDepths], frame: Int64Array) -> None:
        """Appends the depth of the next frames.

        `frame` holds their (n,) indices in the clip.
        """
        arrays: dict[str, npt.NDArray[np.generic]] = {"frame": frame}
        for kind, depth in depths.items():
            # Values beyond the range of float16 are clipped to its largest.
            capped = np.minimum(depth.maps, np.finfo(np.float16).max)
            arrays[kind] = np.where(depth.is_valid, capped, 0).astype(np.float16)
            arrays[f"{kind}_focal_px"] = depth.focal_px
        self._parts.append(arrays)
        self.num_bytes += sum(array.nbytes for array in arrays.values())

    def to_bytes(self) -> bytes:
        """An .npz of `relative` and `metric` (n, h, w) float16, `<kind>_focal_px` and `frame` (n,).

        Metric depth is 0 where not valid. Not compressed: the file is read once.
        """
        arrays = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


class MonoDepths:
    """Monocular depth of a clip, by frame.

    Args:
      frame: (n,) indices in the clip, ascending.
      arrays: the other arrays of `MonoDepthFile`.
    """

    def __init__(self, frame: Int64Array, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        self._frame = frame
        self._arrays = arrays

    @classmethod
    def read(cls, data: bytes) -> MonoDepths:
        """Reads the bytes that `MonoDepthFile` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return cls(file["frame"], {name: file[name] for name in file.files if name != "frame"})

    def of_frames(self, frame: Int64Array, size: tuple[int, int]) -> dict[DepthKind, FrameDepths]:
        """Depth of some frames, resized to (width, height).

        That size may differ from the file's by rounding.

        Raises:
          ValueError: if the file lacks one of the frames.
        """
        rows = np.searchsorted(self._frame, frame)
        if not np.isin(frame, self._frame).all():
            raise ValueError(
                f"monocular depth is known in frames {self._frame.tolist()}, not in all of {frame.tolist()}"
            )
        found: dict[DepthKind, FrameDepths] = {}
        for kind in DEPTH_KINDS:
            if kind not in self._arrays:
                continue
            maps = np.stack(
                [
                    cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
                    for one in self._arrays[kind][rows]
                ]
            )
            valid = maps > 0 if kind == "metric" else np.ones(maps.shape, bool)
            focal_px = self._arrays[f"{kind}_focal_px"][rows].astype(np.float64)
            found[kind] = FrameDepths(maps=maps, is_valid=valid, focal_px=focal_px)
        return found
