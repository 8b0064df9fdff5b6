"""Repairs presentation timestamps (PTS) so that they increase strictly."""

from __future__ import annotations

from fractions import Fraction

from av.video.stream import VideoStream


class Timeline:
    """Assigns strictly increasing PTS to decoded frames in display order.

    A frame keeps its PTS if it is later than that of the frame before. Repairs, each counted once a frame:

    - no PTS: the DTS of the packet that released the frame (containers without PTS, such as AVI, count frames by it),
      or one nominal duration after the last PTS;
    - not later than the frame before, by less than a second: one tick after it;
    - a second or more before it: a discontinuity (concatenated recordings). The frame follows after one nominal
      duration, and all later ones keep that offset until the old clock returns.

    The state is the last PTS and the offset only, so that decoding which starts at any frame without repairs before it
    gives the same PTS as decoding from the first.

    Attributes:
      step: nominal duration of a frame, in ticks.
      repairs: number of frames whose PTS was inferred or corrected.
    """

    def __init__(self, step: int, time_base: Fraction) -> None:
        self.step = step
        self.repairs = 0
        self._discontinuity = max(step + 1, round(1 / time_base))
        self._last_pts: int | None = None
        self._offset = 0
        self._previous_offset = 0

    def next_pts(self, pts: int | None, dts: int | None) -> int:
        """PTS of the next frame in display order.

        From the PTS and DTS of the decoder.
        """
        timestamp = dts if pts is None else pts
        last_pts = self._last_pts
        if timestamp is None:
            new_pts = 0 if last_pts is None else last_pts + self.step
            self.repairs += 1
        else:
            new_pts = timestamp + self._offset
            previous = timestamp + self._previous_offset
            if self._offset and last_pts is not None and last_pts < previous <= last_pts + self._discontinuity:
                new_pts, self._offset = previous, self._previous_offset
            if last_pts is not None and new_pts <= last_pts:
                self.repairs += 1
                new_pts = self._repair(new_pts, last_pts)
            elif pts is None or self._offset:
                self.repairs += 1
        self._last_pts = new_pts
        return new_pts

    def _repair(self, new_pts: int, last_pts: int) -> int:
        if last_pts - new_pts < self._discontinuity:
            return last_pts + 1
        self._previous_offset = self._offset
        self._offset += last_pts + self.step - new_pts
        return last_pts + self.step


def nominal_duration(stream: VideoStream) -> int:
    """Nominal duration of a frame in ticks of the stream's time base, at least 1."""
    rate, time_base = stream.guessed_rate, stream.time_base
    return max(1, round(1 / (rate * time_base))) if rate and time_base else 1
