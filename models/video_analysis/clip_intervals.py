"""From shots to clip intervals: trims, shortest and longest clip, splitting of long shots.

Two rules. `split_shot` works on exact timestamps, leaves transitions out and loses no remainder; it can
run while a shot is still open, so that memory does not grow with its length. `reference_intervals`
gives the numbers of SpatialVID's scripts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from pydantic import Field, model_validator

from core.settings import Settings


class ClipSettings(Settings):
    """Which intervals of a shot become candidate clips."""

    trim_start_s: float = Field(0.3, ge=0, description="Seconds left out after a shot's first frame.")
    trim_end_s: float = Field(0.3, ge=0, description="Seconds left out before a shot's end.")
    min_s: float = Field(3.0, gt=0, description="Shortest clip in seconds (inclusive).")
    max_s: float = Field(15.0, gt=0, description="Longest clip in seconds (inclusive).")
    split: Literal["even", "greedy"] = Field(
        "even",
        description="How a shot longer than max_s is split: `even` halves the last one to two max_s, so "
        "that nothing is lost; `greedy` cuts max_s pieces and drops a remainder below min_s (SpatialVID).",
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> ClipSettings:
        if self.max_s < self.min_s:
            raise ValueError(f"clips.max_s ({self.max_s}) is below clips.min_s ({self.min_s}): raise max_s")
        return self


def exact(seconds: float) -> Fraction:
    """The decimal number that a user wrote, as a fraction: 0.3 means 3/10."""
    return Fraction(repr(seconds))


def split_shot(
    start: Fraction, end: Fraction, settings: ClipSettings, *, shot_is_closed: bool
) -> tuple[list[tuple[Fraction, Fraction]], Fraction]:
    """Splits the usable part `[start, end)` of a shot (trims already taken off) into clip intervals.

    Args:
      start, end: seconds. For an open shot `end` is how far it is known to reach.
      shot_is_closed: whether `end` is final. If not, only intervals that no later end can change are
        returned.

    Returns:
      The intervals, and the time from which the rest is still undecided (`end` for a closed shot).
    """
    longest, shortest = exact(settings.max_s), exact(settings.min_s)
    pieces: list[tuple[Fraction, Fraction]] = []
    decided_ahead = 2 * longest if settings.split == "even" else longest
    while end - start > decided_ahead:
        pieces.append((start, start + longest))
        start += longest
    if not shot_is_closed:
        return pieces, start
    rest = end - start
    if rest > longest and rest / 2 >= shortest:
        pieces += [(start, start + rest / 2), (start + rest / 2, end)]
    elif rest > longest:
        pieces.append((start, start + longest))
        if rest - longest >= shortest:
            pieces.append((start + longest, end))
    elif rest >= shortest:
        pieces.append((start, end))
    return pieces, end


def reference_intervals(shots: Sequence[tuple[int, int]], fps: float, settings: ClipSettings) -> list[tuple[int, int]]:
    """Clip intervals in frames `[start, end)` as SpatialVID computes them (its scene_detect and get_clip).

    Count-based time (frame / fps), shot bounds rounded to 1 ms, trims, greedy pieces, bounds written
    with 1 ms resolution, then frames by rounding half to even. Args: `shots` in frames, `[start, end)`.
    """
    intervals: list[tuple[int, int]] = []
    for first, last in shots:
        begin, finish = _to_ms(first / fps), _to_ms(last / fps)
        if finish - begin < settings.trim_start_s + settings.trim_end_s:
            continue
        begin, finish = begin + settings.trim_start_s, finish - settings.trim_end_s
        pieces: list[tuple[float, float]] = []
        if finish - begin > settings.max_s:
            while begin + settings.max_s <= finish:
                pieces.append((begin, begin + settings.max_s))
                begin += settings.max_s
        if finish - begin >= settings.min_s:
            pieces.append((begin, finish))
        intervals += [(round(_to_ms(a) * fps), round(_to_ms(b) * fps)) for a, b in pieces]
    return [(a, b) for a, b in intervals if b > a]


def _to_ms(seconds: float) -> float:
    """Seconds after a detour through a `HH:MM:SS.mmm` timecode."""
    minutes, rest = divmod(seconds, 60)
    return minutes * 60 + round(rest, 3) if math.isfinite(seconds) else seconds
