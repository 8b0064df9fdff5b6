"""Splits shots into clip intervals of bounded length, on exact timestamps.

It works on open shots too, so that memory does not grow with the length of a shot.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field, model_validator

from core.settings import Settings


class ClipSettings(Settings):
    """Intervals of a shot that become candidate clips."""

    trim_start_s: float = Field(0.3, ge=0, description="Trim after a shot's first frame, seconds.")
    trim_end_s: float = Field(0.3, ge=0, description="Trim before a shot's end, seconds.")
    min_s: float = Field(3.0, gt=0, description="Shortest clip in seconds (inclusive).")
    max_s: float = Field(15.0, gt=0, description="Longest clip in seconds (inclusive).")
    split: Literal["even", "greedy"] = Field(
        "even",
        description="How a shot longer than max_s is split: `even` halves the last one to two max_s, so "
        "that nothing is dropped; `greedy` cuts pieces of max_s and drops a remainder below min_s (SpatialVID).",
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> ClipSettings:
        if self.max_s < self.min_s:
            raise ValueError(f"clips.max_s ({self.max_s}) is below clips.min_s ({self.min_s}): raise max_s")
        return self


def exact(seconds: float) -> Fraction:
    """A decimal number of the configuration as an exact fraction: 0.3 is 3/10."""
    return Fraction(repr(seconds))


def split_shot(
    start: Fraction, end: Fraction, settings: ClipSettings, *, shot_is_closed: bool
) -> tuple[list[tuple[Fraction, Fraction]], Fraction]:
    """Splits the trimmed part `[start, end)` of a shot into clip intervals.

    Args:
      start, end: seconds. For an open shot `end` is the end known so far.
      shot_is_closed: whether `end` is final. If not, only intervals that are independent of a later end are returned.

    Returns:
      The intervals, and the start of the part that is not split yet (`end` for a closed shot).
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
