"""Damage to stored files between two runs: the second run restores the bytes, and `verify` names the file."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from beam_pipeline.cli.main import main
from benchmarks.faults.campaign import Campaign
from benchmarks.faults.stored_files import DAMAGES, Fault, files_by_kind, plan_faults
from tests.support.clips import CARPHONE

SEED = 19
ARGUMENTS = [
    "--input",
    str(CARPHONE),
    "--config",
    "demo",
    "--direct_num_workers=1",
    "--set",
    "thresholds.limits.motion_score.min=0",
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("faults") / "out", ARGUMENTS)


def test_the_campaign_reaches_every_kind_of_file(campaign):
    kinds = {fault.kind for fault in plan_faults(campaign.output, SEED)}
    assert {kind.split("/")[1] for kind in kinds if kind.startswith("store/")} >= {
        "AnalyzeVideo",
        "CutClips",
        "EstimateGeometry",
        "CaptionClips",
        "ScoreText",
        "WriteShard",
    }
    assert {"manifest.json", "run.json"} < kinds
    assert len(plan_faults(campaign.output, SEED)) == len(kinds) * len(DAMAGES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_blobs_results_and_shards_are_restored_and_counted(campaign, damage):
    rng = random.Random(f"{SEED} {damage}")
    kinds = files_by_kind(campaign.output)
    blob = rng.choice(["CutClips/*-clip.mp4", "AnalyzeVideo/*-frame-*.jpg", "EstimateGeometry/*-poses.npy"])
    result = rng.choice([kind for kind in kinds if kind.endswith("result.json")])
    chosen = [f"store/{blob}", result, "shards/clips-*-of-*.tar"]
    assert set(chosen) <= set(kinds)
    trial = campaign.try_faults(*(Fault(kind, damage, rng.getrandbits(32)) for kind in chosen))
    assert trial.problem is None, trial
    assert trial.damaged_results >= 2, trial


def verify(output, capsys):
    code = main(["verify", str(output)])
    said = capsys.readouterr().out
    return code, [line.split()[1] for line in said.splitlines() if line.startswith("damaged")]


def test_verify_finds_nothing_in_a_sound_run(campaign, capsys):
    assert verify(campaign.output, capsys) == (0, [])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["shards", "clips.parquet", "videos.parquet"])
def test_verify_names_the_damaged_file(campaign, tmp_path, capsys, kind, damage):
    output = shutil.copytree(campaign.output, tmp_path / "out", ignore=shutil.ignore_patterns("store"))
    (kind,) = (name for name in files_by_kind(output) if name.startswith(kind))
    path = Fault(kind, damage, SEED).inject(output)
    code, damaged = verify(output, capsys)
    assert code == 1
    assert path in damaged


def test_verify_compares_tables_with_shards(campaign, tmp_path, capsys):
    output = shutil.copytree(campaign.output, tmp_path / "out", ignore=shutil.ignore_patterns("store"))
    manifest = json.loads((output / "manifest.json").read_text())
    manifest["files"] = [file for file in manifest["files"] if not file["path"].startswith("shards/")]
    (output / "manifest.json").write_text(json.dumps(manifest))
    assert verify(output, capsys) == (1, ["shards/clips-00000-of-00001.tar"])
    (output / "manifest.json").write_text("{")
    assert main(["verify", str(output)]) == 2
    assert "run the job again" in capsys.readouterr().err
