"""The same job on several engines on this machine: wall and CPU seconds, start-up (one tiny video) told apart.

Prism and Flink are measured where they are named: `--prism PATH` (the binary), `--flink HOST:PORT` (a cluster started
by `scripts.flink_local`, whose Java processes are counted too) with `--flink-jar PATH` if Beam cannot fetch it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.flink_cluster import cluster_processes, options_by_slots
from benchmarks.measure import Cost, cpu_of_processes, make_h264, markdown_table, real_videos, run_launcher
from benchmarks.scaling import SETTINGS, make_videos
from core.store import Store
from explore.outputs import read_manifest

LOCAL = {
    "in process, one worker": ("--direct_num_workers=1",),
    "in process, two workers": ("--direct_num_workers=2",),
}


def engines(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Options of the launcher by engine."""
    named: dict[str, tuple[str, ...]] = dict(LOCAL)
    if options.prism:
        named["Prism"] = ("--runner=PrismRunner", f"--prism_location={options.prism}")
    if options.flink:
        named |= options_by_slots(options.flink, options.flink_jar)
    return named


def measure(videos: Path, output: Path, arguments: tuple[str, ...], cluster: list[int]) -> Cost:
    """Cost of one fresh run, the cluster's processes included."""
    shutil.rmtree(output, ignore_errors=True)
    before = cpu_of_processes(cluster)
    cost = run_launcher("--input", str(videos), "--output", str(output), *SETTINGS, *arguments)
    return Cost(cost.cpu_s + cpu_of_processes(cluster) - before, cost.wall_s, cost.peak_mib)


def compare(folder: Path, options: argparse.Namespace) -> str:
    """A row for each engine: medians over the repeats; all must give equal bytes."""
    videos = make_videos(folder, options.videos, options.seconds)
    tiny = folder / "tiny"
    tiny.mkdir()
    make_h264(tiny / "tiny.mp4", real_videos(0)[:1], (64, 64), 5)
    rows, bytes_of = [], {}
    for name, arguments in engines(options).items():
        cluster = cluster_processes(options.flink) if name.startswith("Flink") else []
        output = folder / "out"
        starts = [measure(tiny, output, arguments, cluster) for _ in range(options.repeats)]
        wholes = [measure(videos, output, arguments, cluster) for _ in range(options.repeats)]
        bytes_of[name] = read_manifest(Store(str(output)))
        start_s, start_cpu = (statistics.median(v) for v in ([c.wall_s for c in starts], [c.cpu_s for c in starts]))
        wall_s, cpu_s = (statistics.median(v) for v in ([c.wall_s for c in wholes], [c.cpu_s for c in wholes]))
        rows.append([name, start_s, start_cpu, wall_s - start_s, cpu_s - start_cpu])
    equal = all(listed == next(iter(bytes_of.values())) for listed in bytes_of.values())
    header = ["engine", "start-up, wall s", "start-up, CPU s", "work, wall s", "work, CPU s"]
    return markdown_table(header, rows) + f"\n\nequal bytes on all engines: {'yes' if equal else 'NO'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="number of equal 720p videos")
    parser.add_argument("--seconds", type=int, default=20, help="length of each")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each kind; medians are printed")
    parser.add_argument("--prism", metavar="PATH", help="Prism's binary")
    parser.add_argument("--flink", metavar="HOST:PORT", help="a cluster of scripts.flink_local with two slots")
    parser.add_argument("--flink-jar", metavar="PATH", help="Beam's job server jar")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as name:
        print(compare(Path(name), options))


if __name__ == "__main__":
    main()
