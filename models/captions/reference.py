"""The frames that SpatialVID sends to its vision-language model."""

from __future__ import annotations

from av.video.frame import VideoFrame

from core.arrays import UInt8Array
from core.video_info import VideoInfo
from media.images import reference_sample_image

STEP_S, STRIDE = 0.2, 5


class SpatialVidSampler:
    """Every fifth of the frames int(0.2 fps) apart, without a maximum, stretched to 640x360."""

    def indices(self, num_frames: int, fps: float) -> list[int]:
        """See `FrameSampler`."""
        # SpatialVID divides by zero below 5 frames a second.
        return list(range(0, num_frames, STRIDE * max(1, int(STEP_S * fps))))

    def render(self, frame: VideoFrame, info: VideoInfo) -> UInt8Array:
        """See `FrameSampler`."""
        return reference_sample_image(frame, rotation_deg=info.rotation_deg)
