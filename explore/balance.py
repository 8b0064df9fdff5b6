"""Selects subsets of clips that are balanced over tags and motion, by a greedy rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.accounting import Accounting
from core.arrays import Int64Array
from explore.clips import ClipRow, find_clips
from explore.markup import escape_controls
from explore.outputs import OutputError
from explore.subset import write_subset

AXES = (
    "scene_type",
    "brightness",
    "time_of_day",
    "weather",
    "crowd_density",
    "motion_tags",
    "camera_motion_kind",
    "traj_turns",
    "dist_level",
)
RULE = (
    "Clips are taken one by one. The next one is that with the largest sum, over the axes, of 1 / (1 + clips taken "
    "so far that have its value on the axis); among equals the one whose SHA-256 of its id is least. A value that is "
    "unknown (null, Unknown, or motion without poses) counts for nothing. Of turns, all above 2 are one value; of "
    "several motion tags, their set is the value."
)
_UNKNOWN = (None, "Unknown", "")
_MANY_TURNS = 3

ValueCounts = dict[str, dict[str, tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Selected clips.

    Attributes:
      clip_ids: in order of selection.
      value_counts: by axis, value to (candidates, selected clips).
    """

    clip_ids: tuple[str, ...]
    value_counts: ValueCounts


def select_balanced(rows: Sequence[ClipRow], count: int, axes: Sequence[str] = AXES) -> Selection:
    """Selects at most `count` clips by `RULE`, whatever the order of `rows`.

    Cost: `count` times the number of distinct combinations of values.
    """
    rows = sorted(rows, key=lambda row: hashlib.sha256(row["clip_id"].encode()).hexdigest())
    codes = [_codes([_value(row, axis) for row in rows]) for axis in axes]
    combinations, members = _group(codes, len(rows))
    taken = [np.zeros(int(code.max(initial=-1)) + 1, np.int64) for code in codes]
    left = np.array([len(group) for group in members])
    order = np.array([group[0] for group in members], np.int64)
    selected: list[int] = []
    for _ in range(min(count, len(rows))):
        gain = sum(
            np.where(combinations[:, k] >= 0, 1 / (1 + taken[k][combinations[:, k]]), 0.0) if taken[k].size else 0.0
            for k in range(len(axes))
        )
        gain = np.where(left > 0, gain, -1.0)
        best = np.flatnonzero(gain == gain.max())
        group = int(best[np.argmin(order[best])])
        selected.append(members[group][len(members[group]) - left[group]])
        left[group] -= 1
        if left[group]:
            order[group] = members[group][len(members[group]) - left[group]]
        for k, code in enumerate(combinations[group]):
            if code >= 0:
                taken[k][code] += 1
    return Selection(
        clip_ids=tuple(rows[i]["clip_id"] for i in selected), value_counts=_count_values(rows, selected, axes)
    )


def _group(codes: Sequence[Int64Array], count: int) -> tuple[Int64Array, list[list[int]]]:
    """Distinct combinations of codes (m, axes), and the rows of each in order."""
    if not count:
        return np.zeros((0, len(codes)), np.int64), []
    table = np.stack(codes, axis=1) if codes else np.zeros((count, 0), np.int64)
    combinations, group_of = np.unique(table, axis=0, return_inverse=True)
    members: list[list[int]] = [[] for _ in combinations]
    for row, group in enumerate(group_of.reshape(-1).tolist()):
        members[group].append(row)
    return combinations, members


def _value(row: ClipRow, axis: str) -> str | None:
    value = row.get(axis)
    if axis == "camera_motion_kind" and not row.get("pose_ok"):
        return None
    if axis == "traj_turns" and value is not None and value >= _MANY_TURNS:
        return f"{_MANY_TURNS} and more"
    if isinstance(value, list):
        value = ", ".join(sorted(value))
    return None if value in _UNKNOWN else str(value)


def _codes(values: Sequence[str | None]) -> Int64Array:
    """(n,) ranks of values in alphabetical order, -1 for None."""
    ranks = {value: i for i, value in enumerate(sorted({v for v in values if v is not None}))}
    return np.array([-1 if v is None else ranks[v] for v in values], np.int64)


def _count_values(rows: Sequence[ClipRow], selected: Sequence[int], axes: Sequence[str]) -> ValueCounts:
    value_counts: ValueCounts = {}
    members = set(selected)
    for axis in axes:
        counts: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            value = _value(row, axis)
            if value is not None:
                count = counts.setdefault(value, [0, 0])
                count[0] += 1
                count[1] += i in members
        if counts:
            value_counts[axis] = {value: (a, b) for value, (a, b) in sorted(counts.items())}
    return value_counts


def balance(
    output_uri: str,
    count: int,
    *,
    where: str | None = None,
    axes: Sequence[str] = AXES,
    folder_uri: str | None = None,
    clips_per_shard: int = 500,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Selection, Accounting | None]:
    """Selects clips and writes them as a data set, if a folder is given.

    The manifest of the data set holds the rule.

    Args:
      output_uri: folder of a finished run.
      count: clips to select.
      where: SQL condition on candidates, such as tighter limits.
      axes: columns to balance over.
      folder_uri: where to write; None to select only.
      clips_per_shard: clips in one tar, on average.
      on_progress: called with a line of progress after each shard.

    Raises:
      OutputError: if the folder is no finished run, the condition is wrong, or there is no such column.
    """
    rows = find_clips(output_uri, where)
    unknown = [axis for axis in axes if rows and axis not in rows[0]]
    if unknown:
        raise OutputError(f"the clip table has no column {unknown[0]!r} to balance over")
    selection = select_balanced(rows, count, axes)
    accounting = None
    if folder_uri is not None:
        how = {"rule": RULE, "axes": list(axes), "count": count, "where": where}
        accounting = write_subset(
            output_uri,
            selection.clip_ids,
            folder_uri,
            how=how,
            clips_per_shard=clips_per_shard,
            on_progress=on_progress,
        )
    return selection, accounting


def print_selection(selection: Selection, console: Console) -> None:
    """Prints the value counts of candidates and selected clips."""
    console.print(RULE, highlight=False)
    table = Table("axis", "value", "candidates", "chosen")
    for axis, values in selection.value_counts.items():
        for i, (value, (candidates, selected)) in enumerate(values.items()):
            table.add_row(axis if i == 0 else "", Text(escape_controls(value)), str(candidates), str(selected))
    console.print(table)
