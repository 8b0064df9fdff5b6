"""Common readers open shards and tables; the code of docs/outputs.md runs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from explore.clips import ShardReader, find_clips
from storage.manifest import shard_path, write_shard
from storage.rows import sample_document
from storage.shard_members import ARRAY_MEMBERS, complete_members
from storage.store import Store
from tests.support.annotated import make_annotated_run
from tests.support.paths import ROOT

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_annotated_run(tmp_path_factory.mktemp("readers")).path


@pytest.fixture(scope="module")
def bare_first(run, tmp_path_factory):
    """A shard with six bare samples first, and its clips by key."""
    rows = {row["clip_id"]: row for row in find_clips(run)}
    ids = ["bbbb_00001"] * 6 + ["bbbb_00000", "aaaa_00001", "aaaa_00000"]
    clips = {f"c{i}": ShardReader(run).read(rows[clip_id]) for i, clip_id in enumerate(ids)}

    def members():
        for key, clip in clips.items():
            yield f"{key}.json", sample_document(clip.row, {})
            for suffix, data in complete_members({k: v for k, v in clip.files.items() if k != "json"}).items():
                yield f"{key}.{suffix}", data

    output = Store(str(tmp_path_factory.mktemp("bare")))
    write_shard(output, shard_path(0, 1), members(), len(clips))
    return output.full_path(shard_path(0, 1)), clips


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path)
    return found


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_reads_all_samples_whatever_the_first_ones_lack(bare_first, datasets, streaming, tmp_path):
    path, clips = bare_first
    opened = datasets.load_dataset(
        "webdataset", data_files=[path], split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    samples = list(opened.cast_column("mp4", datasets.Video(decode=False)))
    assert [sample["__key__"] for sample in samples] == list(clips)
    for sample, clip in zip(samples, clips.values(), strict=True):
        assert sample["json"]["clip_id"] == clip.clip_id and sample["mp4"]["bytes"] == clip.files["mp4"]
        for suffix, arrays in ARRAY_MEMBERS.items():
            for key, spec in arrays.items():
                found = np.array(sample[suffix][key] if key else sample[suffix], spec.dtype)
                if suffix not in clip.files:
                    assert found.size == 0
                    continue
                stored = np.load(io.BytesIO(clip.files[suffix]))
                np.testing.assert_array_equal(found, stored[key] if key else stored)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_documented_code_runs(block, run, request, tmp_path):
    pytest.importorskip("webdataset")
    if "datasets" in block:
        request.getfixturevalue("datasets")
    names: dict = {}
    exec(block.replace('"OUT/', f'"{run}/'), names)
    if "masks" in names:
        clip = ShardReader(run).read(find_clips(run)[0])
        np.testing.assert_array_equal(names["masks"], clip.is_moving)
    elif "clips" in names:
        assert names["clips"][0]["instructions.json"] == {"0->3": ["Dolly In"], "3->5": ["Stay"]}


def test_tables_are_joined_with_samples(run):
    wanted = ["aaaa_00000", "aaaa_00001", "bbbb_00000", "bbbb_00001"]
    pattern = f"{run}/clips.parquet/*.parquet"
    kept = duckdb.sql(f"SELECT clip_id FROM '{pattern}' WHERE status = 'kept' ORDER BY clip_id").fetchall()
    assert [clip_id for (clip_id,) in kept] == wanted


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_data_frames_hold_the_table(run, name):
    library = pytest.importorskip(name, reason=f"{name} is not installed")
    (path,) = Path(run, "clips.parquet").glob("*.parquet")
    frame = library.read_parquet(path)
    assert len(frame) == 5 and sorted(frame["status"]) == ["kept"] * 4 + ["rejected"]
