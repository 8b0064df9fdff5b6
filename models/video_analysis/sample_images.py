"""Pictures that may become a clip's samples: kept until their clip is decided, rendered when they are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from av.video.frame import VideoFrame

from core.arrays import UInt8Array
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import DecodedFrame
from media.images import encode_jpeg, sample_image
from models.video_analysis.clip_intervals import exact
from models.video_analysis.frame_series import mean_luminance
from models.video_analysis.settings import SAMPLE_POSITIONS, AnalysisSettings, SampleSettings

MAX_FRAME_BYTES = 64 << 20
"""Decoded frames held at most; beyond, the oldest are rendered, which is the same image in less memory."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A rendered image: mean luminance, 0 to 255, and JPEG of the upright image in the size of the settings."""

    luminance: float
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class SelectedSample:
    """A chosen image: frame index in the video, timestamp in the video's time base, and what it shows."""

    frame: int
    pts: int
    image: RenderedImage


@dataclass(slots=True)
class _Held:
    frame: int
    pts: int
    content: VideoFrame | UInt8Array | RenderedImage
    num_bytes: int


def sample_step(settings: AnalysisSettings, time_base: Fraction) -> Fraction:
    """Ticks between images so that the shortest clip has one for each place of a sample."""
    return exact(settings.clips.min_s) / len(SAMPLE_POSITIONS) / time_base


class SampleGrid:
    """Which frames are held: the first one in each cell of `every` ticks of the timeline.

    So it depends on a frame and the one before it alone, wherever decoding began.
    """

    def __init__(self, every: Fraction) -> None:
        self.every = every
        self._next_pts: int | None = None

    def is_due(self, pts: int) -> bool:
        """Whether the next frame in display order is the first of its cell."""
        if self._next_pts is not None and pts < self._next_pts:
            return False
        self._next_pts = ceil((floor(pts / self.every) + 1) * self.every)
        return True

    def coarsen(self) -> None:
        """Makes cells twice as long, from the frame after the last due one on."""
        self.every *= 2
        if self._next_pts is not None:
            self._next_pts = ceil(ceil(self._next_pts / self.every) * self.every)


class SampleImageBuffer:
    """Holds a frame of the open stretch of video every so often, and renders those that clips choose.

    Args:
      info: the video, for rotation and pixel shape.
      settings: sizes of the images.
      every: ticks of a cell of the grid of held frames.
    """

    def __init__(self, info: VideoInfo, settings: SampleSettings, every: Fraction) -> None:
        self._info = info
        self._settings = settings
        self._grid = SampleGrid(every)
        self._held: list[_Held] = []

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order; holds it if its time has come."""
        if not self._grid.is_due(decoded.pts):
            return
        num_bytes = sum(plane.buffer_size for plane in decoded.frame.planes)
        self._held.append(_Held(decoded.index, decoded.pts, decoded.frame, num_bytes))
        excess = sum(held.num_bytes for held in self._held) - MAX_FRAME_BYTES
        for held in self._held:
            if excess <= 0:
                break
            excess -= held.num_bytes
            if isinstance(held.content, VideoFrame):
                held.content, held.num_bytes = _render(held.content, self._info, self._settings), 0

    def hold(self, frame: int, pts: int, image: RenderedImage) -> None:
        """Takes an image that was due and is rendered already."""
        self._held.append(_Held(frame, pts, image, 0))

    def choose(self, span: FrameSpan) -> list[SelectedSample]:
        """The held images nearest to 1/6, 1/2 and 5/6 of an interval, in order; fewer where fewer are held."""
        inside = [held for held in self._held if span.start_frame <= held.frame < span.end_frame]
        wanted = [span.start_pts + p * (span.end_pts - span.start_pts) for p in SAMPLE_POSITIONS]
        chosen = {min(inside, key=lambda held: abs(held.pts - w)).frame for w in wanted} if inside else set()
        return [SelectedSample(h.frame, h.pts, self._finished(h)) for h in inside if h.frame in chosen]

    def thin(self) -> None:
        """Lets go of every other image, and holds half as many from now on."""
        self._held = self._held[::2]
        self._grid.coarsen()

    def drop_before(self, frame: int) -> None:
        """Lets go of all images before a frame."""
        self._held = [held for held in self._held if held.frame >= frame]

    def _finished(self, held: _Held) -> RenderedImage:
        if isinstance(held.content, RenderedImage):
            return held.content
        rgb = held.content
        if isinstance(rgb, VideoFrame):
            rgb = _render(rgb, self._info, self._settings)
        return _finish(rgb, self._settings)


def render_image(frame: VideoFrame, info: VideoInfo, settings: SampleSettings) -> RenderedImage:
    """The image of a decoded frame."""
    return _finish(_render(frame, info, settings), settings)


def _render(frame: VideoFrame, info: VideoInfo, settings: SampleSettings) -> UInt8Array:
    return sample_image(
        frame,
        settings.max_width_px,
        settings.max_height_px,
        rotation_deg=info.rotation_deg,
        is_mirrored=info.is_mirrored,
        sample_aspect_ratio=info.sample_aspect_ratio,
    )


def _finish(rgb: UInt8Array, settings: SampleSettings) -> RenderedImage:
    return RenderedImage(mean_luminance(rgb), encode_jpeg(rgb, settings.jpeg_quality))
