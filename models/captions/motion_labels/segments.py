"""Segments of a clip with equal motion labels, and SpatialVID's instructions.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSegment:
    """Motion labels from one pose to another.

    Attributes:
      start_ordinal, end_ordinal: ordinals of poses (not video frames) at the segment's ends.
      labels: one to six of the 13 labels, "Stay" only alone.
    """

    start_ordinal: int
    end_ordinal: int
    labels: tuple[str, ...]


def merge_steps(labels: Sequence[tuple[str, ...]]) -> tuple[MotionSegment, ...]:
    """Merges neighboring steps with equal labels in equal order.

    Step i goes from pose i to i + 1.
    """
    starts = [i for i in range(len(labels)) if i == 0 or labels[i] != labels[i - 1]]
    ends = [*starts[1:], len(labels)]
    return tuple(
        MotionSegment(start_ordinal=start, end_ordinal=end, labels=labels[start])
        for start, end in zip(starts, ends, strict=False)
    )


def to_instructions(segments: Iterable[MotionSegment], first: int = 0) -> dict[str, list[str]]:
    """The object of SpatialVID's instructions.json: "start->end" to a list of labels.

    Args:
      segments: with ordinals from 0.
      first: offset that is added to the ordinals.
    """
    return {f"{first + s.start_ordinal}->{first + s.end_ordinal}": list(s.labels) for s in segments}
