"""Orders decoded frames by time, and repairs their timestamps (PTS) so that they increase strictly."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

GAP_STEPS = 5
GAP_MIN_S = Fraction(1, 4)
"""A gap is longer than 5 usual steps and than 1/4 s: fewer lost frames hardly move the image, and recorders of screens
and phones vary their steps that much."""
NEW_CLOCK_S = 12 * 3600
"""A jump forward by more is a new clock: MPEG's clock of 33 bits (26.5 h) shows a jump back as one forward."""

_ORDER_STEPS, _ORDER_MIN_S = 5, Fraction(1, 2)
# Frames that are held back behind a jump forward, in case that earlier ones follow (damaged streams), and how many
# frames may overtake one whose time never comes.
_MAX_HELD, _MAX_OVERTAKEN = 8, 32
# Consecutive frames from the past that are a new clock, not frames that a decoder gave out too late.
_MIN_STALE_RUN = 8
# How far a frame may be from the packet that began a new clock.
_NEAR_S = 10
_RECENT = 8


class Timeline:
    """Assigns strictly increasing PTS to decoded frames in display order.

    A frame keeps its PTS if it is later than that of the frame before. Repairs, each counted once a frame:

    - no PTS: the DTS of the packet that released the frame (containers without PTS, such as AVI, count frames by it),
      or one nominal duration after the last PTS;
    - not later than the frame before, by less than a second: one tick after it;
    - a second or more before it, or known to begin a new clock (concatenated recordings): the frame follows after one
      step, and all later ones keep that offset until the old clock returns.

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

    def next_pts(self, pts: int | None, dts: int | None, is_new_clock: bool | None = None) -> int:
        """PTS of the next frame in display order.

        Args:
          pts, dts: those of the decoder.
          is_new_clock: whether the frame begins a new clock; None: if it lies a second or more in the past.
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
                new_pts, self._offset, is_new_clock = previous, self._previous_offset, False
            if last_pts is not None and (is_new_clock or new_pts <= last_pts):
                self.repairs += 1
                new_pts = self._repair(new_pts, last_pts, is_new_clock)
            elif pts is None or self._offset:
                self.repairs += 1
        self._last_pts = new_pts
        return new_pts

    def _repair(self, new_pts: int, last_pts: int, is_new_clock: bool | None) -> int:
        if is_new_clock is None:
            is_new_clock = last_pts - new_pts >= self._discontinuity
        if not is_new_clock:
            return last_pts + 1
        self._previous_offset = self._offset
        self._offset += last_pts + self.step - new_pts
        return last_pts + self.step


class OrderedFrame(NamedTuple):
    """A decoded frame in display order: PTS, and whether a new clock begins."""

    pts: int
    frame: VideoFrame
    is_new_clock: bool


class FrameOrder:
    """Puts decoded frames in order of time, and tells new clocks from misplaced frames.

    A decoder can give frames out of order behind damage. Frames behind a jump forward are therefore held back until
    they are next, or too many wait. A frame from the past begins a new clock if the clock of the packets went back
    there, or if the frames after it go on from there; otherwise it is left out, so that the others keep their times.

    Args:
      timeline: gives the frames their PTS.
      time_base: seconds per tick.
      states_times: whether the container states the time of each frame, on one clock.

    Attributes:
      misplaced: frames left out.
    """

    def __init__(self, timeline: Timeline, time_base: Fraction, states_times: bool) -> None:
        self._timeline = timeline
        self._states_times = states_times
        self._max_step = max(_ORDER_STEPS * timeline.step, ceil(_ORDER_MIN_S / time_base))
        self._near, self._new_clock = ceil(_NEAR_S / time_base), ceil(NEW_CLOCK_S / time_base)
        self._held: list[tuple[int, int, VideoFrame]] = []
        self._stale: list[tuple[int, VideoFrame]] = []
        self._last: int | None = None
        self._last_dts: int | None = None
        self._number = self._newest = 0
        self._clocks: deque[tuple[int, int]] = deque(maxlen=16)
        self._times: deque[int] = deque(maxlen=_RECENT)
        self.misplaced = 0

    def see_packet(self, dts: int | None) -> None:
        """Notes the DTS of the next packet, which shows where a new clock begins."""
        last = self._last_dts
        if dts is None:
            return
        if last is not None and (dts <= last - self._timeline.step or dts > last + self._new_clock):
            self._clocks.append((dts, self._number))
        self._last_dts = dts

    def push(self, frame: VideoFrame) -> Iterator[OrderedFrame]:
        """Takes the decoder's next frame; yields those that are next in order of time."""
        time = frame.dts if frame.pts is None else frame.pts
        last, self._number = self._last, self._number + 1
        if time is None:
            yield from self.flush()
            yield self._emit(time, self._number, frame)
        elif last is None or (last < time <= last + self._max_step and not self._held):
            self._drop_stale()
            yield self._emit(time, self._number, frame)
        elif self._is_new_clock(time, last):
            self._clocks.popleft()
            yield from self.flush()
            yield self._emit(time, self._number, frame, is_new_clock=True)
        elif time > last:
            self._drop_stale()
            heappush(self._held, (time, self._number, frame))
            yield from self._release()
        elif last - time < 2 * self._timeline.step:
            yield self._emit(time, self._number, frame)
        else:
            self._stale.append((time, frame))
            if len(self._stale) == _MIN_STALE_RUN and not self._states_times:
                run, self._stale = self._stale, []
                yield from self.flush()
                for number, (stale_time, stale) in enumerate(run):
                    yield self._emit(stale_time, self._number, stale, is_new_clock=not number)

    def flush(self) -> Iterator[OrderedFrame]:
        """Yields the frames that are held back, but those that many others overtook."""
        self._drop_stale()
        while self._held:
            time, number, frame = heappop(self._held)
            if number + _MAX_HELD < self._newest:
                self.misplaced += 1
            else:
                yield self._emit(time, number, frame)

    def _is_new_clock(self, time: int, last: int) -> bool:
        while self._clocks and self._clocks[0][1] + _MAX_OVERTAKEN < self._number:
            self._clocks.popleft()
        is_jump = time <= last or time > last + self._new_clock
        return is_jump and bool(self._clocks) and abs(time - self._clocks[0][0]) <= self._near

    def _release(self) -> Iterator[OrderedFrame]:
        held = self._held
        if self._number - min(h[1] for h in held) > _MAX_OVERTAKEN:
            kept = [h for h in held if self._number - h[1] <= _MAX_OVERTAKEN]
            self.misplaced += len(held) - len(kept)
            held[:] = sorted(kept)
        while held and (len(held) > _MAX_HELD or self._last is None or held[0][0] <= self._last + self._max_step):
            yield self._emit(*heappop(held))

    def _drop_stale(self) -> None:
        self.misplaced += len(self._stale)
        self._stale.clear()

    def _emit(self, time: int | None, number: int, frame: VideoFrame, is_new_clock: bool = False) -> OrderedFrame:
        if is_new_clock and len(self._times) > 2:
            # A header can state a wrong rate.
            steps = sorted(b - a for a, b in pairwise(self._times))
            self._timeline.step = max(1, steps[len(steps) // 2])
        if is_new_clock:
            self._times.clear()
        if time is not None:
            self._last = time
            self._times.append(time)
        self._newest = max(self._newest, number)
        return OrderedFrame(self._timeline.next_pts(frame.pts, frame.dts, is_new_clock), frame, is_new_clock)


class Steps:
    """The steps between the latest frames: what is usual, and what is a gap.

    The state is the latest 8 steps only, so that it does not matter where decoding started.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._gap_min = GAP_MIN_S / time_base
        self._pts: deque[int] = deque(maxlen=_RECENT + 1)
        self._recent: deque[int] = deque(maxlen=_RECENT)

    def push(self, pts: int) -> bool:
        """Takes the next PTS; returns whether the step to it is longer than usual steps."""
        is_long = False
        if self._pts:
            step = pts - self._pts[-1]
            if step > self._gap_min and len(self._recent) > 1:
                # Of two long steps in a row, the second is usual: a lower frame rate has begun.
                is_long = step > GAP_STEPS * sorted(self._recent)[-2]
            self._recent.append(step)
            if is_long:
                self._pts.clear()
        self._pts.append(pts)
        return is_long

    def usual(self) -> int | None:
        """The latest step in ticks; None without regular steps."""
        steps = [b - a for a, b in pairwise(self._pts)]
        if not steps or max(steps) > 1.5 * min(steps) + 1:
            return None
        return steps[-1]

    def typical(self) -> int | None:
        """Median of the latest steps in ticks; None if there is none."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None


def nominal_duration(stream: VideoStream) -> int:
    """Nominal duration of a frame in ticks of the stream's time base, at least 1."""
    rate, time_base = stream.guessed_rate, stream.time_base
    return max(1, round(1 / (rate * time_base))) if rate and time_base else 1
