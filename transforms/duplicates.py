"""The near-duplicate stages: hash sample images, group clips by Hamming distance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from core.digest import digest_bytes
from core.progress import ProgressLog
from core.records import ClipRecord, ClipStatus
from core.stage import StageContract
from models.duplicates import DuplicateSettings, first_near_duplicates, lsh_keys, perceptual_hash
from storage.stage_output import StageOutput
from transforms.counters import Counters
from transforms.handlers.images import ClipImages, load_images
from transforms.run_context import RunContext
from transforms.stage import CollectionStage, Stage

JUMPS = 3
"""Rounds of pointer jumping over links between clips; each doubles the length of chain that is followed."""

Rank = tuple[int, float, str]
Member = tuple[Rank, tuple[bytes, ...]]
Joined = tuple[str, Iterable[tuple[Any, Any]]]


class HashImages(Stage[ClipRecord]):
    """Perceptual hashes of a clip's sample images, for clips that may still be kept."""

    contract = StageContract(
        name="HashImages",
        version=1,
        record=ClipRecord,
        reads=frozenset({"samples"}),
        writes=frozenset({"image_hashes"}),
        cached=False,
    )
    settings: DuplicateSettings

    def __init__(self, settings: DuplicateSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Clips that no earlier step rejected, if duplicates are looked for."""
        return self.settings.find and record.status is ClipStatus.CANDIDATE

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Hashes the sample images of one clip.

        Raises:
          ItemError: if an image cannot be read.
        """
        images = ClipImages(clip_id=record.clip_id, images=tuple(sample.image for sample in record.samples))
        hashes = [perceptual_hash(rgb) for rgb in load_images(output.store, images)]
        return {"image_hashes": tuple(h.hex() for h in hashes if h is not None)}


class FindDuplicates(CollectionStage[ClipRecord]):
    """Assigns each clip to a group of near-duplicates, named by the id of its representative.

    The representative has the largest frame, then the longest duration, then the first id. Clips with equal hashes
    count as one; others are compared where a band of their hashes is equal (locality-sensitive hashing, Indyk and
    Motwani 1998), at most `max_bucket` clips per band, so that no key gets hot.
    """

    contract = StageContract(
        name="FindDuplicates",
        version=1,
        record=ClipRecord,
        reads=frozenset({"image_hashes", "width", "height", "span"}),
        writes=frozenset({"duplicate_group"}),
        cached=False,
    )
    settings: DuplicateSettings

    def __init__(self, settings: DuplicateSettings) -> None:
        self.settings = settings

    def transform(self, context: RunContext) -> beam.PTransform:
        """The grouping, or the identity where duplicates are not looked for."""
        return _Group(self.settings, context) if self.settings.find else beam.Map(lambda record: record)


@dataclasses.dataclass
class _Group(beam.PTransform):
    settings: DuplicateSettings
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        members = records | "Members" >> beam.FlatMap(_members).with_output_types(tuple[str, Member])
        leaders = members | "LeaderOfEqual" >> beam.CombinePerKey(min).with_output_types(tuple[str, Member])
        links = (
            leaders
            | "Bands" >> beam.FlatMap(_bands).with_output_types(tuple[str, Member])
            | "FirstOfBand"
            >> beam.CombinePerKey(_Smallest(self.settings.max_bucket)).with_output_types(tuple[str, list[Member]])
            | "Compare" >> beam.FlatMap(_links, self.settings.max_distance).with_output_types(tuple[str, Rank])
            | "FirstNear" >> beam.CombinePerKey(min).with_output_types(tuple[str, Rank])
        )
        for jump in range(JUMPS):
            links = _follow(links, f"Jump{jump + 1}")
        ids = members | "Ids" >> beam.Map(lambda m: (m[0], m[1][0][2])).with_output_types(tuple[str, str])
        leader_ids = leaders | "LeaderIds" >> beam.Map(lambda m: (m[0], m[1][0][2])).with_output_types(tuple[str, str])
        by_leader = _join("WithLeader", (ids, str), (leader_ids, str)) | "ByLeader" >> beam.FlatMap(
            _by_leader
        ).with_output_types(tuple[str, str])
        groups = (
            _join("WithLink", (by_leader, str), (links, Rank))
            | "Groups" >> beam.FlatMap(_groups).with_output_types(tuple[str, str])
            # A representative is named by each clip of its group.
            | "OneName" >> beam.CombinePerKey(min).with_output_types(tuple[str, str])
        )
        by_id = records | "ById" >> beam.Map(lambda r: (r.clip_id, r)).with_output_types(tuple[str, ClipRecord])
        name_group = beam.ParDo(_NameGroupDoFn(self.context)).with_output_types(ClipRecord)
        return _join("WithGroup", (by_id, ClipRecord), (groups, str)) | "NameGroup" >> name_group


class _NameGroupDoFn(beam.DoFn):
    def __init__(self, context: RunContext) -> None:
        self._context = context

    def setup(self) -> None:
        self._counters = Counters(FindDuplicates.contract.name, ProgressLog(self._context.progress_folder))

    def process(self, joined: Joined) -> Iterator[ClipRecord]:
        records, groups = _sides(joined)
        for record in records:
            self._counters.add("done" if record.image_hashes else "passed")
            yield dataclasses.replace(record, duplicate_group=groups[0] if groups else None)


class _Smallest(beam.CombineFn):
    """The smallest values of a key, sorted; never more than `most` are held."""

    def __init__(self, most: int) -> None:
        self._most = most

    def create_accumulator(self) -> list[Member]:
        return []

    def add_input(self, held: list[Member], value: Member) -> list[Member]:
        held.append(value)
        return self.compact(held) if len(held) >= 2 * self._most else held

    def merge_accumulators(self, parts: Iterable[list[Member]]) -> list[Member]:
        merged: list[Member] = []
        for part in parts:
            merged = self.compact([*merged, *part])
        return merged

    def compact(self, held: list[Member]) -> list[Member]:
        return sorted(set(held))[: self._most]

    def extract_output(self, held: list[Member]) -> list[Member]:
        return self.compact(held)


def _members(record: ClipRecord) -> Iterator[tuple[str, Member]]:
    """A clip with hashes under the digest of all of them; smaller ranks are better."""
    if record.failure is None and record.image_hashes:
        rank = (-record.width * record.height, -float(record.span.duration_s), record.clip_id)
        hashes = tuple(sorted({bytes.fromhex(h) for h in record.image_hashes}))
        yield digest_bytes(b"".join(hashes)), (rank, hashes)


def _bands(keyed: tuple[str, Member]) -> Iterator[tuple[str, Member]]:
    _, leader = keyed
    for key in {key for image_hash in leader[1] for key in lsh_keys(image_hash)}:
        yield key, leader


def _links(keyed: tuple[str, list[Member]], max_distance: float) -> Iterator[tuple[str, Rank]]:
    """A link from each clip of a bucket to the best-ranked one within the distance."""
    _, members = keyed
    for index, first in enumerate(first_near_duplicates([hashes for _, hashes in members], max_distance)):
        if first != index:
            yield members[index][0][2], members[first][0]


def _join(
    label: str, left: tuple[beam.PCollection[Any], Any], right: tuple[beam.PCollection[Any], Any]
) -> beam.PCollection[Any]:
    """Two collections of pairs, with the types of their values, grouped by key.

    Unlike Beam's own join it has a typed coder, so that no record is pickled.
    """
    left_type, right_type = left[1], right[1]
    pair: Any = tuple[str, tuple[left_type | None, right_type | None]]  # type: ignore[valid-type]
    lefts = left[0] | f"{label}/Left" >> beam.Map(lambda p: (p[0], (p[1], None))).with_output_types(pair)
    rights = right[0] | f"{label}/Right" >> beam.Map(lambda p: (p[0], (None, p[1]))).with_output_types(pair)
    return (lefts, rights) | f"{label}/Both" >> beam.Flatten() | f"{label}/Group" >> beam.GroupByKey()


def _sides(joined: Joined) -> tuple[list[Any], list[Any]]:
    lefts: list[Any] = []
    rights: list[Any] = []
    for left, right in joined[1]:
        (rights if left is None else lefts).append(right if left is None else left)
    return lefts, rights


def _follow(links: beam.PCollection[Any], label: str) -> beam.PCollection[Any]:
    """Replaces each link by the link of its target: one round of pointer jumping."""
    link = tuple[str, Rank]
    by_target = links | f"{label}/ByTarget" >> beam.Map(lambda p: (p[1][2], p)).with_output_types(tuple[str, link])
    joined = _join(label, (by_target, link), (links, Rank))
    return joined | f"{label}/Follow" >> beam.FlatMap(_followed).with_output_types(link)


def _followed(joined: Joined) -> Iterator[tuple[str, Rank]]:
    links, further = _sides(joined)
    for source, target in links:
        yield source, further[0] if further else target


def _by_leader(joined: Joined) -> Iterator[tuple[str, str]]:
    ids, (leader,) = _sides(joined)
    for clip_id in ids:
        yield leader, clip_id


def _groups(joined: Joined) -> Iterator[tuple[str, str]]:
    """`(clip id, group)` of clips with near-duplicates, and of their representative."""
    ids, links = _sides(joined)
    group = links[0][2] if links else joined[0]
    for clip_id in ids:
        if clip_id != group:
            yield clip_id, group
            yield group, group
