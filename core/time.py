"""Time as a type: presentation timestamps are exact rationals, frame numbers are display indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from core.columns import column


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpan:
    """Half-open interval `[start, end)` of a video.

    The start frame is in it, the end frame is not.
    """

    start_frame: int = field(metadata=column("first frame, 0-based display index in the source"))
    end_frame: int = field(metadata=column("frame after the interval"))
    start_pts: int = field(metadata=column("timestamp of the first frame, in time base units"))
    end_pts: int = field(
        metadata=column(
            "timestamp of the end, in time base units: that of end_frame, or, before a gap and at the end of the "
            "stream, that of the last frame plus its duration; earlier where the longest clip ends inside that frame"
        )
    )
    time_base: Fraction

    def __post_init__(self) -> None:
        if self.end_frame <= self.start_frame or self.end_pts <= self.start_pts:
            raise ValueError(f"an interval must hold at least one frame and last, got {self!r}")

    @property
    def num_frames(self) -> int:
        return self.end_frame - self.start_frame

    @property
    def start_s(self) -> Fraction:
        """Seconds from the container's origin to the first frame."""
        return self.start_pts * self.time_base

    @property
    def end_s(self) -> Fraction:
        """Seconds from the container's origin to the end of the interval."""
        return self.end_pts * self.time_base

    @property
    def duration_s(self) -> Fraction:
        return (self.end_pts - self.start_pts) * self.time_base

    @property
    def fps(self) -> Fraction:
        """Mean frame rate over the interval (exact for a constant rate)."""
        return self.num_frames / self.duration_s
