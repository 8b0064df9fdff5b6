from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from pathlib import Path

import apache_beam as beam
import pytest

from core.references import Ref
from storage.store import Store
from tests.support.clips import CARPHONE, cut_clip_record
from tests.support.eager import eager
from transforms.shards import WriteShard, annotation_files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    return store, cut_clip_record(store)


def write(clips, output, store):
    grouped = [(0, clips)]
    (written,) = grouped | eager(beam.ParDo(WriteShard(str(output), store.root_uri, {"place": "string"}), 1))
    return written


def members_of(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_a_shard_holds_the_clips_sorted_by_id(made, tmp_path):
    store, clip = made
    clips = [dataclasses.replace(clip, clip_id=name, extra={"place": name}) for name in ("b_00000", "a_00000")]
    written = write([clips[0], None, clips[1]], tmp_path, store)
    members = members_of(tmp_path / written.path)
    assert next(name for name in members if name.endswith(".json")) == "a_00000.json"
    assert members["b_00000.mp4"] == CARPHONE.read_bytes()
    row = json.loads(members["a_00000.json"])
    assert (row["clip_id"], row["place"], row["video_path"]) == ("a_00000", "a_00000", "a_00000.mp4")
    assert written.count == 2


def test_order_and_repetition_change_no_bytes(made, tmp_path):
    store, clip = made
    other = dataclasses.replace(clip, clip_id="zz_00000")
    first = write([clip, other], tmp_path / "first", store)
    assert write([other, clip], tmp_path / "second", store).sha256 == first.sha256
    shard = tmp_path / "first" / first.path
    written_at = shard.stat().st_mtime_ns
    assert write([other, clip], tmp_path / "first", store) == first
    assert shard.stat().st_mtime_ns == written_at


def test_a_clip_without_annotation_has_no_annotation_files(made):
    _, clip = made
    assert annotation_files(clip) == {}
    caption = Ref(path="c.json", size_bytes=2, digest="0" * 32, media_type="application/json")
    captioned = dataclasses.replace(clip, caption=type("Captioned", (), {"file": caption})())
    assert annotation_files(captioned) == {"caption.json": caption}


@pytest.mark.parametrize("damage", ["flipped", "marker", "gone"])
def test_a_damaged_shard_is_written_anew(made, tmp_path, damage):
    store, clip = made
    store = Store(str(tmp_path / "store"))
    shutil.copytree(made[0].root_uri, store.root_uri, ignore=shutil.ignore_patterns("WriteShard"))
    first = write([clip], tmp_path / "out", store)
    shard = tmp_path / "out" / first.path
    data = shard.read_bytes()
    if damage == "flipped":
        shard.write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])
    elif damage == "gone":
        shard.unlink()
    else:
        (marker,) = Path(store.root_uri).glob("WriteShard/*/*.json")
        marker.write_bytes(marker.read_bytes().replace(b'"count":1', b'"count":2'))
    assert write([clip], tmp_path / "out", store) == first
    assert shard.read_bytes() == data
