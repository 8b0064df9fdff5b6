"""The steps that find near-duplicate clips: hash the sample images, then group clips whose hashes are near."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from core.digest import digest_bytes
from core.progress import ProgressLog
from core.records import ClipRecord, ClipStatus
from core.stage import Stage, StageContract, StageOutput
from models.duplicates import DuplicateSettings, band_keys, hash_picture, near_earlier
from models.handlers.images import ClipImages, load_images
from transforms.adapter import CollectionStage, Counters, RunContext

JUMPS = 3
"""Rounds in which the groups that hang together are joined; each doubles the length of chain that is followed."""

Rank = tuple[int, float, str]
Member = tuple[Rank, tuple[bytes, ...]]
KEYED = tuple[str, Any]


class HashPictures(Stage[ClipRecord]):
    """Perceptual hashes of a clip's sample images, for clips that may still be kept."""

    contract = StageContract(
        name="HashPictures",
        version=1,
        record=ClipRecord,
        reads=frozenset({"samples"}),
        writes=frozenset({"picture_hashes"}),
        cached=False,
    )
    settings: DuplicateSettings

    def __init__(self, settings: DuplicateSettings) -> None:
        self.settings = settings

    def applies(self, record: ClipRecord) -> bool:
        """Clips that no earlier step rejected, if duplicates are looked for."""
        return self.settings.find and record.status is ClipStatus.CANDIDATE

    def run(self, record: ClipRecord, output: StageOutput) -> Mapping[str, Any]:
        """Hashes the pictures of one clip.

        Raises:
          ItemError: if an image cannot be read.
        """
        images = ClipImages(clip_id=record.clip_id, images=tuple(sample.image for sample in record.samples))
        hashes = [hash_picture(rgb) for rgb in load_images(output.store, images)]
        return {"picture_hashes": tuple(h.hex() for h in hashes if h is not None)}


class FindDuplicates(CollectionStage[ClipRecord]):
    """Names for each clip the group of near-duplicates that it belongs to, by the id of the clip that stands for it.

    That is the one with the largest picture, then the longest, then the one whose id comes first. Clips with equal
    hashes are one to what follows; the others meet under parts of their hashes, at most `max_bucket` under each,
    so that no key gathers many.
    """

    contract = StageContract(
        name="FindDuplicates",
        version=1,
        record=ClipRecord,
        reads=frozenset({"picture_hashes", "width", "height", "span"}),
        writes=frozenset({"duplicate_group"}),
        cached=False,
    )
    settings: DuplicateSettings

    def __init__(self, settings: DuplicateSettings) -> None:
        self.settings = settings

    def transform(self, context: RunContext) -> beam.PTransform:
        """The grouping, or nothing where duplicates are not looked for."""
        return _Group(self.settings, context) if self.settings.find else beam.Map(lambda record: record)


@dataclasses.dataclass
class _Group(beam.PTransform):
    settings: DuplicateSettings
    context: RunContext

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, records: beam.PCollection[Any]) -> beam.PCollection[Any]:
        members = records | "Members" >> beam.FlatMap(_members).with_output_types(KEYED)
        leaders = members | "LeaderOfEqual" >> beam.CombinePerKey(min).with_output_types(KEYED)
        links = (
            leaders
            | "Bands" >> beam.FlatMap(_bands).with_output_types(KEYED)
            | "FirstOfBand" >> beam.CombinePerKey(_Smallest(self.settings.max_bucket)).with_output_types(KEYED)
            | "Compare" >> beam.FlatMap(_links, self.settings.max_distance).with_output_types(KEYED)
            | "FirstNear" >> beam.CombinePerKey(min).with_output_types(KEYED)
        )
        for jump in range(JUMPS):
            links = _follow(links, f"Jump{jump + 1}")
        clips_by_leader = (
            {"members": members, "leader": leaders}
            | "WithLeader" >> beam.CoGroupByKey()
            | "ByLeader" >> beam.FlatMap(_by_leader).with_output_types(KEYED)
        )
        groups = (
            {"clips": clips_by_leader, "link": links}
            | "WithLink" >> beam.CoGroupByKey()
            | "Groups" >> beam.FlatMap(_groups).with_output_types(KEYED)
            # A clip that stands for others is named by each of them.
            | "OneName" >> beam.CombinePerKey(min).with_output_types(KEYED)
        )
        by_id = records | "ById" >> beam.Map(lambda r: (r.clip_id, r)).with_output_types(KEYED)
        return (
            {"record": by_id, "group": groups}
            | "WithGroup" >> beam.CoGroupByKey()
            | "NameGroup" >> beam.ParDo(_NameGroupDoFn(self.context))
        )


class _NameGroupDoFn(beam.DoFn):
    def __init__(self, context: RunContext) -> None:
        self._context = context

    def setup(self) -> None:
        self._counters = Counters(FindDuplicates.contract.name, ProgressLog(self._context.progress_folder))

    def process(self, joined: tuple[str, dict[str, list[Any]]]) -> Iterator[ClipRecord]:
        _, found = joined
        for record in found["record"]:
            self._counters.add("done" if record.picture_hashes else "passed")
            yield dataclasses.replace(record, duplicate_group=min(found["group"], default=None))


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
    if record.failure is None and record.picture_hashes:
        rank = (-record.width * record.height, -float(record.span.duration_s), record.clip_id)
        hashes = tuple(sorted({bytes.fromhex(h) for h in record.picture_hashes}))
        yield digest_bytes(b"".join(hashes)), (rank, hashes)


def _bands(keyed: tuple[str, Member]) -> Iterator[tuple[str, Member]]:
    _, leader = keyed
    for key in {key for picture_hash in leader[1] for key in band_keys(picture_hash)}:
        yield key, leader


def _links(keyed: tuple[str, list[Member]], max_distance: float) -> Iterator[tuple[str, Rank]]:
    """From each clip of a bucket to the best one that it is near to."""
    _, members = keyed
    for index, first in enumerate(near_earlier([hashes for _, hashes in members], max_distance)):
        if first != index:
            yield members[index][0][2], members[first][0]


def _follow(links: beam.PCollection[Any], label: str) -> beam.PCollection[Any]:
    """Links to where the linked clip's own link leads."""
    by_target = links | f"{label}/ByTarget" >> beam.Map(lambda p: (p[1][2], (p[0], p[1]))).with_output_types(KEYED)
    return (
        {"from": by_target, "to": links}
        | f"{label}/Join" >> beam.CoGroupByKey()
        | f"{label}/Follow" >> beam.FlatMap(_followed).with_output_types(KEYED)
    )


def _followed(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, Rank]]:
    _, found = joined
    further = list(found["to"])
    for source, target in found["from"]:
        yield source, further[0] if further else target


def _by_leader(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, str]]:
    _, found = joined
    (leader,) = found["leader"]
    for rank, _ in found["members"]:
        yield leader[0][2], rank[2]


def _groups(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, str]]:
    """`(clip id, group)` of the clips that have near-duplicates, and of the one that stands for them."""
    leader, found = joined
    links = list(found["link"])
    group = links[0][2] if links else leader
    for clip_id in found["clips"]:
        if clip_id != group:
            yield clip_id, group
            yield group, group
