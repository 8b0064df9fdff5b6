"""File of a tracked clip's cameras and depth.

One stage writes it, the next reads it window by window.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackedFrames:
    """Cameras and depth of annotated frames.

    Attributes:
      frame: (n,) int64 indices in the clip, rising.
      cam_from_world: (n, 7); the world is the first annotated frame's camera.
      intrinsics_px: (4,) fx fy cx cy in pixels of the annotated frames.
      inverse_depth: (n, h, w) float32 in the unit of the poses, over the whole image.
      static: (n, h, w) float32 static probability, 0 to 1.
      disagreement: (n, h, w) float32 relative difference of depth to that of neighboring frames; NaN if unknown.
      residual_px: (n,) float32 median distance of the reprojection of static pixels to their optical flow, in px of the
        annotated frames; NaN if unknown.
      meters_per_unit: metric scale; None if unknown.
      focal_observed: whether the focal length was observable.
    """

    frame: Int64Array
    cam_from_world: Float64Array
    intrinsics_px: Float64Array
    inverse_depth: Float32Array
    static: Float32Array
    disagreement: Float32Array
    residual_px: Float32Array
    meters_per_unit: float | None
    focal_observed: bool

    def to_bytes(self) -> bytes:
        """Bytes of an .npz; maps as float16."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            frame=self.frame,
            cam_from_world=self.cam_from_world,
            intrinsics_px=self.intrinsics_px,
            inverse_depth=self.inverse_depth.astype(np.float16),
            static=self.static.astype(np.float16),
            disagreement=self.disagreement.astype(np.float16),
            residual_px=self.residual_px.astype(np.float32),
            meters_per_unit=np.float64(np.nan if self.meters_per_unit is None else self.meters_per_unit),
            focal_observed=np.bool_(self.focal_observed),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> TrackedFrames:
        """Reads what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            meters = float(file["meters_per_unit"])
            return cls(
                frame=file["frame"],
                cam_from_world=file["cam_from_world"],
                intrinsics_px=file["intrinsics_px"],
                inverse_depth=file["inverse_depth"].astype(np.float32),
                static=file["static"].astype(np.float32),
                disagreement=file["disagreement"].astype(np.float32),
                residual_px=file["residual_px"],
                meters_per_unit=None if np.isnan(meters) else meters,
                focal_observed=bool(file["focal_observed"]),
            )

    def of_frames(self, frame: Int64Array, size: tuple[int, int]) -> TrackedFrames:
        """Selected frames, with maps resized to (width, height).

        Raises:
          ValueError: if one of them was not tracked.
        """
        rows = np.searchsorted(self.frame, frame)
        if not np.isin(frame, self.frame).all():
            raise ValueError(f"frames {self.frame.tolist()} were tracked, not all of {frame.tolist()}")

        def resized(maps: Float32Array, interpolation: int = cv2.INTER_LINEAR) -> Float32Array:
            return np.stack([cv2.resize(one, size, interpolation=interpolation) for one in maps[rows]])

        return replace(
            self,
            frame=frame,
            cam_from_world=self.cam_from_world[rows],
            inverse_depth=resized(self.inverse_depth),
            static=resized(self.static),
            disagreement=resized(self.disagreement, cv2.INTER_NEAREST_EXACT),
            residual_px=self.residual_px[rows],
        )
