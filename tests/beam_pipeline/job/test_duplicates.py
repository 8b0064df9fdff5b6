"""The whole job on a video and its copy."""

from __future__ import annotations

import shutil

from beam_pipeline.cli.main import main
from core.thresholds import DUPLICATE_REASON
from explore.outputs import read_accounting, read_table
from tests.support.paths import EXAMPLES

VIDEO = EXAMPLES / "bikes.mp4"
FAST = ["annotate.pose.model=none", "text.model=none"]


def run(folder, output, *settings):
    overrides = [part for setting in (*FAST, *settings) for part in ("--set", setting)]
    arguments = ["--config", "demo", "--no-progress", "--direct_num_workers=1"]
    assert main(["--input", str(folder), "--output", str(output), *arguments, *overrides]) == 0
    assert read_accounting(str(output)).problems() == []
    return {row["clip_id"]: row for row in read_table(str(output), "clips").to_pylist()}


def test_of_a_video_and_its_copy_one_is_kept_where_that_is_wanted(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(VIDEO, folder / name)
    named = run(folder, tmp_path / "out")
    groups = {row["duplicate_group"] for row in named.values() if row["status"] == "kept"}
    assert None not in groups
    assert all(row["status"] == "kept" for row in named.values() if row["duplicate_group"])
    assert len({clip_id.partition("_")[0] for clip_id in groups}) == 1
    cuts = set((tmp_path / "out" / "store" / "CutClips").rglob("*.json"))

    chosen = run(folder, tmp_path / "out", "thresholds.reject_duplicates=true")
    kept = {clip_id for clip_id, row in chosen.items() if row["status"] == "kept"}
    assert kept == groups
    rejected = [row for row in chosen.values() if row["duplicate_group"] and row["status"] == "rejected"]
    assert len(rejected) == len(kept)
    assert {tuple(row["rejection_reasons"]) for row in rejected} == {(DUPLICATE_REASON,)}
    # What is kept was cut in the run before: nothing is computed again.
    assert set((tmp_path / "out" / "store" / "CutClips").rglob("*.json")) == cuts
