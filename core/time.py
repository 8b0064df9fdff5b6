"""Time as a type: presentation timestamps are exact rationals, frame numbers are display indices."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpan:
    """The half-open interval `[start, end)` of a video: the first frame is in, the end frame is not.

    Attributes:
      start_frame, end_frame: display indices of the source, 0-based.
      start_pts: presentation timestamp of the first frame, in units of `time_base`.
      end_pts: timestamp at which the interval ends: that of `end_frame`, or, at the end of the
        stream, the last frame's timestamp plus its duration.
      time_base: seconds per timestamp unit.
    """

    start_frame: int
    end_frame: int
    start_pts: int
    end_pts: int
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
