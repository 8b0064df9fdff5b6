"""Stretches of a clip with the same words, and the form in which data sets publish them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSegment:
    """The words for the motion from one annotated frame to another.

    Attributes:
      start_ordinal, end_ordinal: ordinals of the poses (not video frames) between which the camera moves so.
      labels: one to six of the 13 words, "Stay" only alone.
    """

    start_ordinal: int
    end_ordinal: int
    labels: tuple[str, ...]


def merge_steps(labels: Sequence[tuple[str, ...]]) -> tuple[MotionSegment, ...]:
    """Joins neighboring steps (from pose i to i + 1) that have equal labels in equal order."""
    starts = [i for i in range(len(labels)) if i == 0 or labels[i] != labels[i - 1]]
    ends = [*starts[1:], len(labels)]
    return tuple(
        MotionSegment(start_ordinal=start, end_ordinal=end, labels=labels[start])
        for start, end in zip(starts, ends, strict=False)
    )


def to_instructions(segments: Iterable[MotionSegment], first: int = 0) -> dict[str, list[str]]:
    """The object of SpatialVID's instructions.json: "start->end" to a list of words.

    Args:
      segments: their ordinals count from 0.
      first: what they shall count from.
    """
    return {f"{first + s.start_ordinal}->{first + s.end_ordinal}": list(s.labels) for s in segments}
