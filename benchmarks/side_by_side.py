"""CPU time of analyzing a small video in one process and in two, without Beam.

It is the baseline for engines: CPU milliseconds in the program and in the kernel, with files on disk and in memory (the
named folders), and with files created right after others were removed, which is slow on some file systems.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from beam_pipeline.config import load_config
from benchmarks.measure import ROOT, make_h264, markdown_table, real_videos
from benchmarks.scaling import run_stages
from storage.sources import list_videos, make_spec
from storage.store import Store
from transforms.analyze import AnalyzeVideo
from transforms.ingest import ProbeVideo
from transforms.stage import Stage

REMOVED = 1000
"""Folders of five files that are made and removed before the rows of that kind."""


def compare(folders: list[str], videos: int, repeats: int) -> str:
    """Returns median ms a video by folder, processes, and files removed before."""
    rows = []
    for parent in folders:
        with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-", dir=parent) as name:
            folder = Path(name)
            video = make_h264(folder / "small.mp4", real_videos(0)[:1], (160, 90), 150, preset="veryfast")
            for removed in (0, REMOVED):
                for processes in (1, 2):
                    found = [
                        cost for _ in range(repeats) for cost in _measure(folder, video, videos, processes, removed)
                    ]
                    program, kernel = (statistics.median(values) for values in zip(*found, strict=True))
                    rows.append([parent, removed, processes, program, kernel])
    return markdown_table(["files in", "removed before", "processes at once", "program, ms", "kernel, ms"], rows)


def _measure(folder: Path, video: Path, videos: int, processes: int, removed: int) -> list[tuple[float, float]]:
    """Milliseconds a video in the program and in the kernel, of each process."""
    if removed:
        _make_and_remove(folder / "removed", removed)
    stores = [tempfile.mkdtemp(dir=folder) for _ in range(processes)]
    command = [sys.executable, "-m", "benchmarks.side_by_side", "--work", str(video), "--videos", str(videos)]
    running = [
        subprocess.Popen([*command, "--store", store], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        for store in stores
    ]
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(f"{command} failed")
    return [tuple(json.loads(line)) for line in outputs]


def _make_and_remove(folder: Path, count: int) -> None:
    for index in range(count):
        inner = folder / f"{index % 256:02x}" / f"{index}"
        inner.mkdir(parents=True)
        for number in range(5):
            (inner / f"{number}").write_bytes(b"x")
    shutil.rmtree(folder)


def _work(video: str, videos: int, store: str) -> None:
    """Analyzes a video repeatedly; print milliseconds a video in the program and in the kernel."""
    config = load_config("embedded")
    stages: list[Stage[Any]] = [ProbeVideo(config.probe), AnalyzeVideo(config.analysis)]
    (record,) = list_videos(make_spec(video))
    for index in range(20):
        run_stages(stages, record, Store(os.path.join(store, f"warm-{index}")))
    before = resource.getrusage(resource.RUSAGE_SELF)
    for index in range(videos):
        run_stages(stages, record, Store(os.path.join(store, f"{index}")))
    after = resource.getrusage(resource.RUSAGE_SELF)
    program, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(json.dumps([1000 * program / videos, 1000 * kernel / videos]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=[tempfile.gettempdir()], help="folders for the files")
    parser.add_argument("--videos", type=int, default=200, help="times that a process analyzes the video")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", metavar="VIDEO", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(options.work, options.videos, options.store)
    else:
        print(compare(options.folders, options.videos, options.repeats))


if __name__ == "__main__":
    main()
