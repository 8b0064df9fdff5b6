"""The same job on several engines on this machine: wall and CPU seconds, start-up apart.

The baseline is a plain loop over the job's stages, without Beam: one process, then two independent ones that take half
of the videos each, whose speedup is that of the machine's second core. Start-up is a run on one tiny video. Speedups
are those of the work over one process, worker or slot; Prism's is over one worker in process.
Prism and Flink are measured where they are named: `--prism PATH` (the binary), `--flink HOST:PORT` (a cluster started
by `scripts.flink_local`, whose Java processes are counted too) with `--flink-jar PATH` if Beam cannot fetch it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.flink_cluster import cluster_processes, options_by_slots
from benchmarks.measure import (
    Cost,
    cpu_of_command,
    cpu_of_processes,
    make_h264,
    markdown_table,
    real_videos,
    run_launcher,
)
from benchmarks.scaling import SETTINGS, make_videos, plain_loop
from explore.outputs import read_manifest
from storage.store import Store

LOCAL = {
    "in process, one worker": ("--direct_num_workers=1",),
    "in process, two workers": ("--direct_num_workers=2",),
}
SINGLES = {"no engine, one process", "in process, one worker", "Flink, slots: 1"}
"""Rows that the speedups of later rows refer to."""

Run = Callable[[Path, Path], Cost]
"""A fresh run over a folder of videos, in an empty folder."""


def kinds_of_runs(options: argparse.Namespace) -> dict[str, Run]:
    """Returns the measured runs by their name in the table."""
    engines: dict[str, tuple[str, ...]] = dict(LOCAL)
    if options.prism:
        engines["Prism"] = ("--runner=PrismRunner", f"--prism_location={options.prism}")
    kinds: dict[str, Run] = {
        "no engine, one process": partial(run_loops, 1),
        "no engine, two processes": partial(run_loops, 2),
    }
    kinds |= {name: partial(run_job, arguments, []) for name, arguments in engines.items()}
    if options.flink:
        cluster = cluster_processes(options.flink)
        by_slots = options_by_slots(options.flink, options.flink_jar)
        kinds |= {name: partial(run_job, arguments, cluster) for name, arguments in by_slots.items()}
    return {name: run for name, run in kinds.items() if options.only in name}


def run_job(arguments: tuple[str, ...], cluster: list[int], videos: Path, folder: Path) -> Cost:
    """Cost of one run of the launcher, the cluster's processes included."""
    before = cpu_of_processes(cluster)
    cost = run_launcher("--input", str(videos), "--output", str(folder), *SETTINGS, *arguments)
    return Cost(cost.cpu_s + cpu_of_processes(cluster) - before, cost.wall_s, cost.peak_mib)


def run_loops(processes: int, videos: Path, folder: Path) -> Cost:
    """Returns the cost of concurrent plain loops that share the videos, at least one each."""
    files = sorted(videos.iterdir())
    commands = []
    for index in range(processes):
        part = folder / f"part-{index}"
        part.mkdir(parents=True)
        for file in files[index::processes] or files[:1]:
            (part / file.name).symlink_to(file)
        commands.append([sys.executable, "-m", "benchmarks.runners", "--loop", str(part), str(folder / f"{index}")])
    with ThreadPoolExecutor(processes) as threads:
        costs = list(threads.map(cpu_of_command, commands))
    return Cost(sum(c.cpu_s for c in costs), max(c.wall_s for c in costs), max(c.peak_mib for c in costs))


def compare(folder: Path, options: argparse.Namespace) -> str:
    """Returns medians of runs taken in turns; all engines must give equal bytes."""
    videos = make_videos(folder, options.videos, options.seconds)
    tiny = folder / "tiny"
    tiny.mkdir()
    make_h264(tiny / "tiny.mp4", real_videos(0)[:1], (64, 64), 5)
    kinds = kinds_of_runs(options)
    starts: dict[str, list[Cost]] = {name: [] for name in kinds}
    wholes: dict[str, list[Cost]] = {name: [] for name in kinds}
    written = []
    for _ in range(options.repeats):
        for name, run in kinds.items():
            for source, costs in ((tiny, starts[name]), (videos, wholes[name])):
                output = folder / "out"
                shutil.rmtree(output, ignore_errors=True)
                costs.append(run(source, output))
            if not name.startswith("no engine"):
                written.append(read_manifest(Store(str(output))))
    rows: list[list[str | float]] = []
    single_s = None
    for name in kinds:
        start_s, start_cpu, whole_s, whole_cpu = (
            statistics.median(values)
            for costs in (starts[name], wholes[name])
            for values in ([c.wall_s for c in costs], [c.cpu_s for c in costs])
        )
        work_s = whole_s - start_s
        if name in SINGLES:
            single_s = work_s
        rows.append([name, start_s, start_cpu, work_s, whole_cpu - start_cpu, single_s / work_s if single_s else ""])
    equal = all(listed == written[0] for listed in written)
    header = ["engine", "start-up, wall s", "start-up, CPU s", "work, wall s", "work, CPU s", "speedup"]
    return markdown_table(header, rows) + f"\n\nequal bytes on all engines: {'yes' if equal else 'NO'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="number of equal 720p videos")
    parser.add_argument("--seconds", type=int, default=20, help="length of each")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each kind; medians are printed")
    parser.add_argument("--prism", metavar="PATH", help="Prism's binary")
    parser.add_argument("--flink", metavar="HOST:PORT", help="a cluster of scripts.flink_local with two slots")
    parser.add_argument("--flink-jar", metavar="PATH", help="Beam's job server jar")
    parser.add_argument("--only", metavar="WORD", default="", help="only engines whose names contain this")
    parser.add_argument("--loop", nargs=2, metavar=("VIDEOS", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        videos, store = options.loop
        plain_loop(Path(videos), Store(store))
        return
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as name:
        print(compare(Path(name), options))


if __name__ == "__main__":
    main()
