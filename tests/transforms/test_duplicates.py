from __future__ import annotations

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from benchmarks.duplicates import synthetic_clip
from core.records import ClipStatus
from media.probe import probe_video
from models.duplicates import BANDS, HASH_BITS, DuplicateSettings
from tests.support.paths import EXAMPLES
from transforms.duplicates import FindDuplicates, _Smallest
from transforms.run_context import RunContext

INFO = probe_video(str(EXAMPLES / "bikes.mp4"))


def clip(clip_id, *hashes, width=640, **changes):
    return synthetic_clip(clip_id, INFO, hashes, width=width, height=360, **changes)


def flipped(image_hash, bits, bands=1):
    """The hash with bits changed in the first bands only."""
    array = np.unpackbits(np.frombuffer(image_hash, np.uint8))
    for band in range(bands):
        array[band::BANDS][:bits] ^= 1
    return np.packbits(array).tobytes()


@pytest.fixture
def hashes():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, HASH_BITS // 8, dtype=np.uint8).tobytes() for _ in range(30)]


def find(clips, expected, **settings):
    stage = FindDuplicates(DuplicateSettings(**settings))
    options = beam.options.pipeline_options.PipelineOptions(direct_runner_bundle_repeat=1)
    with beam.Pipeline(runner="FnApiRunner", options=options) as root:
        out = root | beam.Create(clips) | "Find" >> stage.transform(RunContext("unused"))
        assert_that(out | beam.Map(lambda c: (c.clip_id, c.duplicate_group)), equal_to(expected))


def test_groups_are_named_after_their_best_clip(hashes):
    a, b, c, d = hashes[:4]
    near_a = flipped(a, 15)
    clips = [
        clip("v_0", a, b),
        clip("v_1", near_a, b),
        clip("v_2", a, b, width=1280),
        clip("v_3", c),
        clip("v_4", c),
        clip("v_5", d),
        clip("v_6"),
        clip("v_7", status=ClipStatus.REJECTED),
    ]
    groups = {"v_0": "v_2", "v_1": "v_2", "v_2": "v_2", "v_3": "v_3", "v_4": "v_3"}
    find(clips, [(c.clip_id, groups.get(c.clip_id)) for c in clips])


def test_a_chain_is_one_group(hashes):
    links = [flipped(hashes[0], 20, bands=k) for k in range(6)]
    clips = [clip(f"v_{k}", h) for k, h in enumerate(links)]
    find(clips, [(c.clip_id, "v_0") for c in clips])


def test_many_equal_clips_are_found_though_few_meet_under_a_key(hashes):
    clips = [clip(f"v_{k:03d}", hashes[0]) for k in range(50)] + [
        clip(f"w_{k:03d}", h) for k, h in enumerate(hashes[1:])
    ]
    expected = [(c.clip_id, "v_000" if c.clip_id.startswith("v") else None) for c in clips]
    find(clips, expected, max_bucket=2)


def test_nothing_is_looked_for_where_that_is_off(hashes):
    clips = [clip("v_0", hashes[0]), clip("v_1", hashes[0])]
    find(clips, [("v_0", None), ("v_1", None)], find=False)


def test_a_bucket_never_holds_many():
    smallest = _Smallest(3)
    held = smallest.create_accumulator()
    for number in range(100, 0, -1):
        held = smallest.add_input(held, ((number, 0.0, ""), ()))
        assert len(held) <= 6
    merged = smallest.merge_accumulators([held, [((0, 0.0, ""), ())]])
    assert [rank[0] for rank, _ in smallest.extract_output(merged)] == [0, 1, 2]
