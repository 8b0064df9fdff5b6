"""Buffer of candidate frames for a clip's sample images, rendered when they are selected."""

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
"""Maximum size of buffered decoded frames; beyond it the oldest are rendered, which takes less memory."""


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A rendered sample image: mean luminance (0 to 255) and JPEG.

    The frame is upright and resized.
    """

    luminance: float
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class SelectedSample:
    """A selected sample: frame index, timestamp in the video's time base, and image."""

    frame: int
    pts: int
    image: RenderedImage


@dataclass(slots=True)
class _Candidate:
    frame: int
    pts: int
    content: VideoFrame | UInt8Array | RenderedImage
    num_bytes: int


def sample_step(settings: AnalysisSettings, time_base: Fraction) -> Fraction:
    """Ticks between candidates, so that the shortest clip has one per sample position."""
    return exact(settings.clips.min_s) / len(SAMPLE_POSITIONS) / time_base


class SampleGrid:
    """Selects candidates: the first frame in each cell of `every` ticks of the timeline.

    This depends only on a frame and its predecessor, wherever decoding starts.
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
        """Doubles the cell length, from the frame after the last due one on."""
        self.every *= 2
        if self._next_pts is not None:
            self._next_pts = ceil(ceil(self._next_pts / self.every) * self.every)


class SampleImageBuffer:
    """Buffers candidate frames of the undecided part; renders those that clips select.

    Args:
      info: the video, for rotation and sample aspect ratio.
      settings: image sizes.
      every: cell length of the candidate grid, ticks.
    """

    def __init__(self, info: VideoInfo, settings: SampleSettings, every: Fraction) -> None:
        self._info = info
        self._settings = settings
        self._grid = SampleGrid(every)
        self._candidates: list[_Candidate] = []

    def __len__(self) -> int:
        return len(self._candidates)

    def offer(self, decoded: DecodedFrame) -> None:
        """Takes the next frame in display order; buffers it if it is due."""
        if not self._grid.is_due(decoded.pts):
            return
        num_bytes = sum(plane.buffer_size for plane in decoded.frame.planes)
        self._candidates.append(_Candidate(decoded.index, decoded.pts, decoded.frame, num_bytes))
        excess = sum(candidate.num_bytes for candidate in self._candidates) - MAX_FRAME_BYTES
        for candidate in self._candidates:
            if excess <= 0:
                break
            excess -= candidate.num_bytes
            if isinstance(candidate.content, VideoFrame):
                candidate.content, candidate.num_bytes = _render(candidate.content, self._info, self._settings), 0

    def hold(self, frame: int, pts: int, image: RenderedImage) -> None:
        """Buffers a candidate that is already rendered."""
        self._candidates.append(_Candidate(frame, pts, image, 0))

    def select(self, span: FrameSpan) -> list[SelectedSample]:
        """Candidates nearest to 1/6, 1/2 and 5/6 of an interval, in order and without repetition."""
        inside = [candidate for candidate in self._candidates if span.start_frame <= candidate.frame < span.end_frame]
        targets = [span.start_pts + p * (span.end_pts - span.start_pts) for p in SAMPLE_POSITIONS]
        selected = {min(inside, key=lambda c: abs(c.pts - t)).frame for t in targets} if inside else set()
        return [SelectedSample(c.frame, c.pts, self._rendered(c)) for c in inside if c.frame in selected]

    def thin(self) -> None:
        """Drops every other candidate, and doubles the distance of the next ones."""
        self._candidates = self._candidates[::2]
        self._grid.coarsen()

    def drop_before(self, frame: int) -> None:
        """Drops all candidates before a frame."""
        self._candidates = [candidate for candidate in self._candidates if candidate.frame >= frame]

    def _rendered(self, candidate: _Candidate) -> RenderedImage:
        if isinstance(candidate.content, RenderedImage):
            return candidate.content
        rgb = candidate.content
        if isinstance(rgb, VideoFrame):
            rgb = _render(rgb, self._info, self._settings)
        return _encode(rgb, self._settings)


def render_image(frame: VideoFrame, info: VideoInfo, settings: SampleSettings) -> RenderedImage:
    """Renders the sample image of a decoded frame."""
    return _encode(_render(frame, info, settings), settings)


def _render(frame: VideoFrame, info: VideoInfo, settings: SampleSettings) -> UInt8Array:
    return sample_image(
        frame,
        settings.max_width_px,
        settings.max_height_px,
        rotation_deg=info.rotation_deg,
        is_mirrored=info.is_mirrored,
        sample_aspect_ratio=info.sample_aspect_ratio,
    )


def _encode(rgb: UInt8Array, settings: SampleSettings) -> RenderedImage:
    return RenderedImage(mean_luminance(rgb), encode_jpeg(rgb, settings.jpeg_quality))
