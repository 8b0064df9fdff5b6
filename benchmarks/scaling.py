"""Speedup of local workers, Beam's overhead, memory, and many small videos.

1. Two workers against one, by running mode: wall seconds of whole runs on equal videos, start-up apart.
2. Beam's overhead: CPU seconds of the job with one worker against a plain loop over the same stages.
3. Memory: peak resident memory of the analysis of a 2-minute and a 2-hour video.
4. Number of videos: cost of runs on 10, 100 and 1,000 small ones, and the size of records between steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from beam_pipeline.config import load_config
from benchmarks.flink_cluster import cluster_processes, options_by_slots
from benchmarks.measure import (
    Cost,
    cpu_of_call,
    cpu_of_command,
    cpu_of_processes,
    loop_copy,
    make_h264,
    markdown_table,
    real_videos,
    run_launcher,
    watch_launcher,
)
from storage.sources import list_videos, make_spec
from storage.store import Store
from transforms.analyze import AnalyzeVideo, clips_of, read_analysis
from transforms.clips import CutClips
from transforms.ingest import ProbeVideo
from transforms.stage import Stage
from transforms.thresholds import apply_thresholds, reject_early

MODES = {
    "one worker, in memory": ("--direct_num_workers=1", "--direct_running_mode=in_memory"),
    "two workers, threads": ("--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    "two workers, processes": ("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
}
SETTINGS = ("--set=text.model=none",)


def make_videos(folder: Path, count: int, seconds: int) -> Path:
    """A folder of equal 720p videos."""
    videos = folder / "videos"
    videos.mkdir()
    first = make_h264(videos / "video-00.mp4", real_videos(720), (1280, 720), seconds * 30)
    for index in range(1, count):
        shutil.copyfile(first, videos / f"video-{index:02d}.mp4")
    return videos


def compare_workers(folder: Path, videos: Path, repeats: int) -> str:
    """Median wall seconds by mode; start-up is a run on one tiny video."""
    tiny = folder / "tiny"
    tiny.mkdir(exist_ok=True)
    make_h264(tiny / "tiny.mp4", real_videos(0)[:1], (64, 64), 5)
    wall: dict[str, list[float]] = {name: [] for name in MODES}
    start: dict[str, list[float]] = {name: [] for name in MODES}
    for _ in range(repeats):
        for name, options in MODES.items():
            wall[name].append(_fresh_run(folder, videos, *options).wall_s)
            start[name].append(_fresh_run(folder, tiny, *options).wall_s)
    base = next(iter(MODES))
    rows = []
    for name in MODES:
        startup, whole = statistics.median(start[name]), statistics.median(wall[name])
        ratios = [
            (b - sb) / (w - s) for b, sb, w, s in zip(wall[base], start[base], wall[name], start[name], strict=True)
        ]
        rows.append([name, startup, whole - startup, statistics.median(ratios)])
    return markdown_table(["mode", "start-up, s", "work, s", "speedup of the work"], rows)


def _fresh_run(folder: Path, videos: Path, *options: str) -> Cost:
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    return run_launcher("--input", str(videos), "--output", str(output), *SETTINGS, *options)


def compare_loop(folder: Path, videos: Path, repeats: int) -> str:
    """Returns CPU seconds of the job without start-up and of a plain loop."""
    one = MODES["one worker, in memory"]
    beam, loop = [], []
    for _ in range(repeats):
        start_up = _fresh_run(folder, folder / "tiny", *one).cpu_s
        beam.append(_fresh_run(folder, videos, *one).cpu_s - start_up)
        store = folder / "loop-store"
        shutil.rmtree(store, ignore_errors=True)
        loop.append(cpu_of_call(partial(plain_loop, videos, Store(str(store)))).cpu_s)
    ratio = statistics.median(b / p for b, p in zip(beam, loop, strict=True))
    return markdown_table(
        ["plain loop, CPU s", "Beam job, CPU s", "ratio"],
        [[statistics.median(loop), statistics.median(beam), ratio]],
    )


def plain_loop(videos: Path, store: Store) -> None:
    """The job's stages over all videos without Beam, tables and shards."""
    config = load_config("embedded", ["text.model=none"])
    video_stages: list[Stage[Any]] = [ProbeVideo(config.probe), AnalyzeVideo(config.analysis)]
    clip_stages: list[Stage[Any]] = [
        reject_early(config.thresholds),
        apply_thresholds(config.thresholds),
        CutClips(config.cut),
    ]
    for video in list_videos(make_spec(str(videos))):
        done = run_stages(video_stages, video, store)
        analysis = read_analysis(done, store)
        for clip in clips_of(done, analysis) if analysis else ():
            run_stages(clip_stages, clip, store)


def run_stages(stages: list[Stage[Any]], record: Any, store: Store) -> Any:
    """Returns a record after all stages that apply to it, without Beam."""
    for stage in stages:
        if stage.applies(record):
            changes = stage.run(record, stage.output(record, store))
            record = dataclasses.replace(record, **changes)
    return record


def compare_memory(folder: Path) -> str:
    """Returns the analysis' peak memory for a 2-minute and a 2-hour video."""
    piece = make_h264(folder / "small.mp4", real_videos(0)[:1], (320, 180), 720, preset="veryfast")
    rows: list[list[Any]] = []
    for name, times in (("2 minutes", 5), ("2 hours", 300)):
        path = loop_copy(piece, folder / f"{times}.mp4", times)
        cost = cpu_of_command([sys.executable, "-m", "benchmarks.scaling", "--analyze", str(path)])
        rows.append([name, cost.peak_mib])
    rows.append(["ratio", rows[1][1] / rows[0][1]])
    return markdown_table(["video", "peak resident memory, MiB"], rows)


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """Launcher options, and the number of concurrent jobs that share the videos."""

    options: Sequence[str]
    jobs: int = 1


def compare_counts(
    folder: Path, counts: Sequence[int], engines: Mapping[str, Engine], cluster: list[int], repeats: int
) -> str:
    """Returns the cost of runs over many small videos, by engine and number.

    Args:
      folder: a folder to work in.
      counts: numbers of videos.
      engines: engines by name.
      cluster: processes of a Flink cluster, whose CPU seconds count for engines that run there.
      repeats: runs of each kind, in turns; medians are reported.
    """
    first = make_h264(folder / "count.mp4", real_videos(0)[:1], (160, 90), 150, preset="veryfast")
    found: dict[tuple[str, int], list[list[float]]] = {(name, count): [] for name in engines for count in counts}
    for _ in range(repeats):
        for name, engine in engines.items():
            before: tuple[int, float] | None = None
            for count in counts:
                measures = _count_run(folder, first, count, engine, cluster)
                further = 1000 * (measures[0] - before[1]) / (count - before[0]) if before else math.nan
                before = count, measures[0]
                found[name, count].append([measures[0], further, *measures[1:]])
    rows = []
    for (name, count), runs in found.items():
        medians = [statistics.median(values) for values in zip(*runs, strict=True)]
        rows.append([name, count, *("" if math.isnan(value) else value for value in medians)])
    header = ["engine", "videos", "CPU s", "CPU ms of a further video", "share of the busier worker"]
    header += ["peak MiB of a worker", "of the launcher", "largest record, bytes", "load"]
    return markdown_table(header, rows)


def _count_run(folder: Path, video: Path, count: int, engine: Engine, cluster: list[int]) -> list[float]:
    """Returns CPU s, busier worker's share, peaks, largest record, load; NaN if absent."""
    arguments = ["--set=thresholds.limits.motion_score.min=13.9", *SETTINGS, *engine.options]
    # Separate folders: some file systems are slow to create files right after others were removed.
    run_folder = Path(tempfile.mkdtemp(dir=folder))
    for job in range(engine.jobs):
        videos = run_folder / f"videos-{job}"
        videos.mkdir()
        for index in range(job, count, engine.jobs):
            shutil.copyfile(video, videos / f"{index:05d}.mp4")
    of_cluster = cpu_of_processes(cluster)
    places = [
        ("--input", f"{run_folder}/videos-{job}", "--output", f"{run_folder}/{job}") for job in range(engine.jobs)
    ]
    with ThreadPoolExecutor(engine.jobs) as threads:
        runs = list(threads.map(lambda place: watch_launcher(*place, *arguments), places))
    workers = [worker for run in runs for worker in run.workers]
    shares = [worker.cpu_s for worker in workers]
    return [
        sum(run.cpu_s for run in runs) + cpu_of_processes(cluster) - of_cluster,
        max(shares) / sum(shares) if len(shares) == 2 else math.nan,
        max((worker.peak_mib for worker in workers), default=math.nan),
        max(run.launcher_peak_mib for run in runs),
        max(
            json.loads((run_folder / f"{job}/run.json").read_text())["elements"]["largest_bytes"]
            for job in range(engine.jobs)
        ),
        os.getloadavg()[0],
    ]


def _analyze(path: str) -> None:
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as folder:
        config = load_config("embedded")
        stages: list[Stage[Any]] = [ProbeVideo(config.probe), AnalyzeVideo(config.analysis)]
        for video in list_videos(make_spec(path)):
            run_stages(stages, video, Store(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="number of equal videos")
    parser.add_argument("--seconds", type=int, default=20, help="length of each")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind; medians are printed")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000], help="numbers of small videos")
    parser.add_argument("--only-counts", action="store_true", help="only the runs over many small videos")
    parser.add_argument("--flink", metavar="HOST:PORT", help="a cluster of scripts.flink_local with two slots")
    parser.add_argument("--flink-jar", metavar="PATH", help="Beam's job server jar")
    parser.add_argument("--analyze", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.analyze:
        _analyze(options.analyze)
        return
    processes = "--direct_running_mode=multi_processing"
    engines = {
        "one worker, in memory": Engine(MODES["one worker, in memory"]),
        "one worker, a process": Engine((processes, "--direct_num_workers=1")),
        "two workers, processes": Engine(MODES["two workers, processes"]),
        "two jobs of one worker at once": Engine((processes, "--direct_num_workers=1"), jobs=2),
    }
    if options.flink:
        by_slots = options_by_slots(options.flink, options.flink_jar)
        engines |= {name: Engine(arguments) for name, arguments in by_slots.items()}
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as name:
        folder = Path(name)
        if not options.only_counts:
            videos = make_videos(folder, options.videos, options.seconds)
            print(compare_workers(folder, videos, options.repeats), flush=True)
            print("\n" + compare_loop(folder, videos, options.repeats), flush=True)
            print("\n" + compare_memory(folder), flush=True)
        cluster = cluster_processes(options.flink)
        print("\n" + compare_counts(folder, options.counts, engines, cluster, options.repeats), flush=True)


if __name__ == "__main__":
    main()
