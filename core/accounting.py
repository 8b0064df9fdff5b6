"""Accounting of a run: every item is counted once, and the totals balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A rule on totals: `total` must be the sum of `parts`."""

    rule: str
    total: int
    parts: tuple[int, ...]

    @property
    def holds(self) -> bool:
        return self.total == sum(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Totals of a run, counted in its tables.

    Attributes:
      buggy_videos: videos that failed by a fault of the program.
      inputs_skipped: inputs that are no video of their own, such as duplicates.
      clips_expected: clips that the analyses of the videos found.
      clips: rows of the clip table.
    """

    videos: int
    videos_done: int
    videos_failed: int
    buggy_videos: int
    inputs_skipped: int
    shots: int
    clips_expected: int
    clips: int
    clips_kept: int
    clips_rejected: int
    clips_failed: int
    clips_in_shards: int
    failure_rows: int

    @classmethod
    def count(
        cls,
        *,
        videos: Iterable[Mapping[str, Any]],
        shots: int,
        clip_statuses: Iterable[str],
        failures: Iterable[Mapping[str, Any]],
        clips_in_shards: int,
    ) -> Accounting:
        """Counts rows of the tables: `status` and `num_clips` of videos, `item` and `is_bug` of failures."""
        videos, failures, clips = list(videos), list(failures), Counter(clip_statuses)
        statuses = Counter(video["status"] for video in videos)
        return cls(
            videos=len(videos),
            videos_done=statuses["done"],
            videos_failed=statuses["failed"],
            buggy_videos=sum(row["item"] == "video" and row["is_bug"] for row in failures),
            inputs_skipped=sum(row["item"] == "input" for row in failures),
            shots=shots,
            clips_expected=sum(video["num_clips"] or 0 for video in videos),
            clips=clips.total(),
            clips_kept=clips["kept"],
            clips_rejected=clips["rejected"],
            clips_failed=clips["failed"],
            clips_in_shards=clips_in_shards,
            failure_rows=len(failures),
        )

    def balances(self) -> tuple[Balance, ...]:
        """The rules that the totals of every run must meet."""
        clips = (self.clips_kept, self.clips_rejected, self.clips_failed)
        failed = (self.inputs_skipped, self.videos_failed, self.clips_failed)
        return (
            Balance(rule="videos = done + failed", total=self.videos, parts=(self.videos_done, self.videos_failed)),
            Balance(rule="clips found = kept + rejected + failed", total=self.clips, parts=clips),
            Balance(
                rule="clips in the table = clips that the analyses found",
                total=self.clips,
                parts=(self.clips_expected,),
            ),
            Balance(rule="clips in shards = clips kept", total=self.clips_in_shards, parts=(self.clips_kept,)),
            Balance(
                rule="failure rows = skipped inputs + failed videos + failed clips",
                total=self.failure_rows,
                parts=failed,
            ),
        )

    def problems(self) -> list[str]:
        """The rules that are broken; empty when the totals balance."""
        return [f"not true: {balance.rule} ({self})" for balance in self.balances() if not balance.holds]

    def as_dict(self) -> dict[str, Any]:
        """Totals and whether they balance, for `run.json`."""
        return {**asdict(self), "balanced": not self.problems()}
