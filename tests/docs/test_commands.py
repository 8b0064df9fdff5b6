"""Runs every command of README, CONTRIBUTING and docs/, or lists why not."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from beam_pipeline.cli.main import main
from tests.support.annotated import make_annotated_run
from tests.support.paths import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

# Why a command is not run here: by what it begins with or holds, after `.venv/bin/` and `python` are taken off.
NOT_RUN = {
    r"^make (\w|-)+": "its target is looked up in the Makefile by another test",
    r"^(pip|docker|gcloud|gsutil|bq|kubectl) ": "another program, which changes or needs more than this folder",
    r"\.\.\.": "shows a form, not a command",
    r"^export ": "sets the shell's environment",
    r"^-m (benchmarks|pytest)": "measures for minutes",
    r"^-m docs\.draw_design": "writes into the checkout; another test compares the drawing",
    r"^-m (scripts\.flink_local|beam_pipeline\.runners\.worker_pool)": "starts servers",
    r"\b(gs|s3)://": "needs a bucket; whole runs against emulators are tests of their own",
    r"--runner[= ](Dataflow|Flink|Portable|Prism|Spark)": "needs a cluster",
    r"\b(HOST|MODEL|PROJECT|REGION|BUCKET|IMAGE|JOBMANAGER)\b": "needs a server, a cluster or an account",
    r"download\.|launcher\.py download ": "downloads videos or published data; tested without a network",
    r"captions\.model=transformers": "needs a model's weights; tested with random ones",
    r"launcher\.py models (fetch|verify)": "downloads or reads weights",
    r"launcher\.py view ": "runs until it is interrupted; a test of its own looks at it in a browser",
}
NEEDS = {
    "pose.model=colmap": "pycolmap",
    "--format spatialvid": "OpenEXR",
    "--format rerun": "rerun",
    "train_loader": "webdataset",
}
KNOWN = re.compile(r"^(launcher\.py|examples/|-m |spatialbeam|make |pip |export |docker |gcloud |gsutil |bq |kubectl )")


def commands_of(page: Path) -> list[str]:
    """Commands in the page's code blocks and backticks, without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^(?:    .*\n)+", text, re.M) + re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    inline = re.findall(r"`((?:\.venv/bin/)?(?:python )?(?:launcher\.py|-m) [^`]+|make [a-z][^`]*)`", text)
    bare = [re.sub(r"^(\.venv/bin/)?(python3? )?", "", re.sub(r"\s+#.*", "", line.strip())) for line in lines + inline]
    return [line for line in dict.fromkeys(bare) if KNOWN.match(line)]


FOUND = [(page, command) for page in PAGES for command in commands_of(page)]


def why_not(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command)), None)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """What the pages call OUT and VIDEOS."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "videos").mkdir()
    shutil.copy(ROOT / "examples" / "videos" / "carphone_pristine.mp4", folder / "videos")
    (folder / "OUT").mkdir()
    make_annotated_run(folder / "OUT")
    return folder


RUN = [(page, command) for page, command in FOUND if why_not(command) is None]


@pytest.mark.parametrize(("page", "command"), RUN, ids=[f"{p.name}: {c}" for p, c in RUN])
def test_it_runs(page, command, data, tmp_path, monkeypatch):
    for part, package in NEEDS.items():
        if part in command and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data / "OUT", tmp_path / "OUT")
    # The job's own output goes elsewhere: OUT is a finished data set for the other commands.
    words = shlex.split(command.replace("--output OUT", "--output NEW").replace("VIDEOS", str(data / "videos")))
    if words[0].startswith("examples/"):
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    else:
        assert words[0] in ("launcher.py", "spatialbeam")
        extra = []
        if words[1].startswith("--"):
            # The job: on one short video unless the page names its input, and in this process.
            named = [] if "--input" in words else ["--input", str(data / "videos"), "--output", "NEW"]
            extra = [*named, "--no-progress", "--direct_num_workers=1"]
        try:
            code = main([*words[1:], *extra])
        except SystemExit as end:
            # Options that only print something end the program themselves.
            code = end.code
        assert code == 0


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {command.split()[1] for _, command in FOUND if command.startswith("make ")}
    assert {"demo", "test"} <= named <= targets


def test_all_pages_are_looked_at():
    pages = {page.name for page, _ in FOUND}
    assert {"README.md", "explore.md", "export.md", "training.md"} <= pages
    assert len(RUN) > 15


def test_local_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"(?:\]\(|src=\")([^)#:\"]+)[)\"]", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
