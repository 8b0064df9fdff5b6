"""Pictures that may become a clip's samples: kept until their clip is decided, rendered when they are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import DecodedFrame
from media.images import sample_image
from models.analysis.settings import SAMPLE_POSITIONS, SampleSettings

MAX_FRAME_BYTES = 64 << 20
"""Decoded frames held at most; beyond, the oldest are rendered, which is the same picture in less memory."""


@dataclass(slots=True)
class _Held:
    frame: int
    pts: int
    picture: VideoFrame | npt.NDArray[np.uint8]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class SamplePicture:
    """A chosen picture.

    Attributes:
      frame: index in the video.
      pts: timestamp in the video's time base.
      rgb: (height, width, 3) uint8, upright, within the size that the settings allow.
    """

    frame: int
    pts: int
    rgb: npt.NDArray[np.uint8]


class SamplePictures:
    """Holds a frame of the open stretch of video every so often, and renders those that clips choose.

    Args:
      info: the video, for rotation and pixel shape.
      settings: sizes of the pictures.
      every: ticks from one held frame to the next.
    """

    def __init__(self, info: VideoInfo, settings: SampleSettings, every: Fraction) -> None:
        self._info = info
        self._settings = settings
        self._every = every
        self._next_pts: Fraction | None = None
        self._held: list[_Held] = []

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order; holds it if its time has come."""
        if self._next_pts is not None and decoded.pts < self._next_pts:
            return
        self._next_pts = decoded.pts + self._every
        num_bytes = sum(plane.buffer_size for plane in decoded.frame.planes)
        self._held.append(_Held(decoded.index, decoded.pts, decoded.frame, num_bytes))
        excess = sum(held.num_bytes for held in self._held) - MAX_FRAME_BYTES
        for held in self._held:
            if excess <= 0:
                break
            excess -= held.num_bytes
            self._rendered(held)

    def choose(self, span: FrameSpan) -> list[SamplePicture]:
        """The held pictures nearest to 1/6, 1/2 and 5/6 of an interval, in order; fewer where fewer are held."""
        inside = [held for held in self._held if span.start_frame <= held.frame < span.end_frame]
        wanted = [span.start_pts + p * (span.end_pts - span.start_pts) for p in SAMPLE_POSITIONS]
        chosen = {min(inside, key=lambda held: abs(held.pts - w)).frame for w in wanted} if inside else set()
        return [SamplePicture(h.frame, h.pts, self._rendered(h)) for h in inside if h.frame in chosen]

    def thin(self) -> None:
        """Lets go of every other picture, and holds half as many from now on."""
        self._held = self._held[::2]
        self._every *= 2
        self._next_pts = self._held[-1].pts + self._every if self._held else None

    def drop_before(self, frame: int) -> None:
        """Lets go of all pictures before a frame."""
        self._held = [held for held in self._held if held.frame >= frame]

    def _rendered(self, held: _Held) -> npt.NDArray[np.uint8]:
        if isinstance(held.picture, VideoFrame):
            held.picture = sample_image(
                held.picture,
                self._settings.max_width_px,
                self._settings.max_height_px,
                rotation_deg=self._info.rotation_deg,
                is_mirrored=self._info.is_mirrored,
                sample_aspect_ratio=self._info.sample_aspect_ratio,
            )
            held.num_bytes = 0
        return held.picture
