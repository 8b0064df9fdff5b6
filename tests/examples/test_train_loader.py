"""Batches of the training loader against the exact truth of rendered films."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.annotated import make_annotated_run
from tests.support.paths import ROOT

pytest.importorskip("webdataset")
PATH = ROOT / "examples" / "train_loader.py"


@pytest.fixture(scope="module")
def loader():
    spec = importlib.util.spec_from_file_location("train_loader", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_annotated_run(tmp_path_factory.mktemp("loader"))


def batches(loader, run, seed=0, **changes):
    shards = sorted(map(str, (Path(run.path) / "shards").iterdir()))
    return list(loader.make_dataset(shards, **({"frames": 3, "size": (64, 36), "batch": 2} | changes), seed=seed))


def test_a_batch_is_as_described(loader, run):
    (batch,) = batches(loader, run)
    assert sorted(batch["clip_id"]) == ["aaaa_00000", "aaaa_00001"]
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items() if isinstance(v, np.ndarray)} == {
        "rgb": ((2, 3, 36, 64, 3), "uint8"),
        "depth": ((2, 3, 36, 64), "float32"),
        "moving": ((2, 3, 36, 64), "bool"),
        "cam_from_first": ((2, 3, 4, 4), "float64"),
        "intrinsics_px": ((2, 3, 4), "float64"),
        "times_s": ((2, 3), "float64"),
    }
    orbit = batch["clip_id"].index("aaaa_00000")
    assert batch["caption"][orbit].startswith("Boxes of several sizes")
    assert batch["caption"][1 - orbit] == "The camera does this: Dolly In."


def test_depth_cameras_and_intrinsics_of_a_batch_fit(loader, run):
    """A pixel of the first frame, reprojected to the last one, has its depth there."""
    (batch,) = batches(loader, run)
    for b in range(2):
        fx, fy, cx, cy = batch["intrinsics_px"][b, 0]
        y, x = np.mgrid[4:32, 4:60]
        z = batch["depth"][b, 0, y, x]
        points = np.stack([(x - cx) / fx * z, (y - cy) / fy * z, z, np.ones_like(z)]).reshape(4, -1)
        seen = batch["cam_from_first"][b, 2] @ points
        u, v = np.rint(seen[0] / seen[2] * fx + cx), np.rint(seen[1] / seen[2] * fy + cy)
        inside = (u >= 0) & (u < 64) & (v >= 0) & (v < 36)
        found = batch["depth"][b, 2, v[inside].astype(int), u[inside].astype(int)]
        assert np.nanmedian(np.abs(found / seen[2, inside] - 1)) < 0.02
        assert np.allclose(batch["cam_from_first"][b, 0], np.eye(4))
        assert np.allclose(np.diff(batch["times_s"][b]), 0.2)


def test_the_seed_decides_and_short_clips_are_passed_over(loader, run):
    one, same, other = (batches(loader, run, seed=s, frames=2) for s in (1, 1, 2))
    assert all(np.array_equal(one[0][k], same[0][k]) for k in ("rgb", "depth", "times_s"))
    assert one[0]["clip_id"] != other[0]["clip_id"] or not np.array_equal(one[0]["times_s"], other[0]["times_s"])
    assert batches(loader, run, frames=7) == []


def test_it_runs_and_tells_its_speed(loader, run, monkeypatch, capsys):
    arguments = ["--frames", "2", "--batch", "1", "--repeat", "2", "--size", "32", "18"]
    monkeypatch.setattr(sys, "argv", ["train_loader.py", f"{run.path}/shards", *arguments])
    loader.main()
    assert "rgb (1, 2, 18, 32, 3) uint8" in (shown := capsys.readouterr().out) and "a CPU second" in shown
