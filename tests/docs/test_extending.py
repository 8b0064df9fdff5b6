"""Applies the code of `docs/extending.md` to a copy of the program and runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.paths import EXAMPLES, ROOT

pytestmark = pytest.mark.slow
ROOMS = ("beam_pipeline", "configs", "core", "explore", "media", "models", "native", "storage", "transforms")


def extend(section: str, folder: Path) -> set[str]:
    """Copies the program and applies the section's code; returns the changed files.

    A Python block begins with a comment that names the new file. A diff block names its file behind `---`; its hunks
    are parted by `@@`.
    """
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "csrc"))
    shutil.copy(ROOT / "launcher.py", folder)
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    touched = set()
    for kind, name, body in re.findall(r"^```(python|diff)\n(?:#|---) (\S+)\n(.*?)^```", text, re.M | re.S):
        path = folder / name
        touched.add(name)
        if kind == "python":
            assert not path.exists(), f"{name} is there already"
            path.write_text(body, encoding="utf-8")
            continue
        for hunk in re.split(r"^@@.*\n", body, flags=re.M):
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] != "+")
            new = "".join(line[1:] for line in lines if line[0] != "-")
            source = path.read_text(encoding="utf-8")
            assert source.count(old) == 1, f"{name} does not hold once:\n{old}"
            path.write_text(source.replace(old, new), encoding="utf-8")
    return touched


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The program's output with the new score and a limit that no clip meets."""
    folder = tmp_path_factory.mktemp("extended")
    assert len(extend("A new score", folder)) == 4
    output = folder / "out"
    options = (
        *(
            "--config=demo",
            f"--input={EXAMPLES / 'bikes.mp4'}",
            f"--output={output}",
            "--no-progress",
            "--direct_num_workers=1",
        ),
        *("--set=annotate.pose.model=none", "--set=thresholds.limits={sharpness_score: {min: 1000000}}"),
    )
    environment = os.environ | {"PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "launcher.py", *options], cwd=folder, env=environment, check=True)
    return output


def test_a_new_score_is_a_column(scored):
    clips = pq.read_table(scored / "clips.parquet")
    place = clips.column_names.index("sharpness_score")
    assert clips.column_names[place - 1 : place + 3] == [
        *("aesthetic_model", "sharpness_score", "sharpness_reason", "sharpness_model")
    ]
    meaning = clips.schema.field("sharpness_score").metadata[b"meaning"].decode()
    assert meaning.endswith("median of the sample images, squared 8-bit luma units")
    scores = clips["sharpness_score"].to_pylist()
    assert scores and all(score > 0 for score in scores)


def test_a_new_score_has_a_limit_and_a_histogram(scored):
    reasons = pq.read_table(scored / "clips.parquet")["rejection_reasons"].to_pylist()
    assert all(reason == ["sharpness_score below 1e+06"] for reason in reasons)
    page = (scored / "report" / "index.html").read_text(encoding="utf-8")
    assert '<h3>Sharpness <code class="soft">sharpness_score</code></h3>' in page
    assert f"histogram of sharpness_score, {len(reasons)} clips" in page


def test_a_new_depth_network_is_two_files(tmp_path):
    assert extend("A new depth network", tmp_path) == {"models/depth/plane.py", "models/registry/table.py"}
    (tmp_path / "plane.json").write_text('{"depth_m": 2.5}', encoding="utf-8")
    code = """
import importlib.util, numpy as np
importlib.util.find_spec = lambda name: object()
from models.depth.mono_depth import load_depth_models
from models.depth.settings import DepthSettings
(network,) = load_depth_models(DepthSettings(metric="plane", metric_uri="plane.json"))
found = network.predict([np.zeros((48, 64, 3), np.uint8)] * 2, (32, 24))
assert found.maps.shape == (2, 24, 32) and (found.maps == 2.5).all()
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
