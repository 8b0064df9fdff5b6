"""Strictly increasing presentation timestamps for whatever a decoder gives."""

from __future__ import annotations

from fractions import Fraction

from av.video.stream import VideoStream


class Timeline:
    """Places decoded frames, in display order, on one strictly increasing timeline.

    A frame's own timestamp is kept wherever it is later than the frame's before. The repairs, each
    counted once a frame:

    - no timestamp: the decode timestamp of the packet that released the frame (what containers
      without presentation times, such as AVI, count frames by), or one nominal frame after the last;
    - not later than the frame before, by less than a second: one tick after it;
    - a second or more before it: the clock was set back (joined recordings). The frame follows
      after one nominal frame, and all later ones keep that shift, until the old clock returns.

    The state is the last timestamp and the shift only, so that decoding which starts at any frame
    without repairs before it gives the same times as decoding from the first.

    Attributes:
      step: nominal duration of a frame, in ticks.
      repairs: number of frames whose timestamp is not their own.
    """

    def __init__(self, step: int, time_base: Fraction) -> None:
        self.step = step
        self.repairs = 0
        self._jump = max(step + 1, round(1 / time_base))
        self._last: int | None = None
        self._shift = 0
        self._old_shift = 0

    def place(self, pts: int | None, dts: int | None) -> int:
        """Timestamp of the next frame in display order, from what its decoder tells."""
        stamp = dts if pts is None else pts
        last = self._last
        if stamp is None:
            placed = 0 if last is None else last + self.step
            self.repairs += 1
        else:
            placed = stamp + self._shift
            if self._shift and last is not None and last < stamp + self._old_shift <= last + self._jump:
                placed, self._shift = stamp + self._old_shift, self._old_shift
            if last is not None and placed <= last:
                self.repairs += 1
                placed = self._place_early(placed, last)
            elif pts is None or self._shift:
                self.repairs += 1
        self._last = placed
        return placed

    def _place_early(self, placed: int, last: int) -> int:
        if last - placed < self._jump:
            return last + 1
        self._old_shift = self._shift
        self._shift += last + self.step - placed
        return last + self.step


def nominal_step(stream: VideoStream) -> int:
    """Nominal duration of a frame in ticks of the stream's time base, at least 1."""
    rate, time_base = stream.guessed_rate, stream.time_base
    return max(1, round(1 / (rate * time_base))) if rate and time_base else 1
