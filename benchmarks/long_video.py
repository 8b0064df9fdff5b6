"""A video of hours among short ones, in windows and in one piece.

1. Whole runs: wall seconds and each worker's CPU; the bytes of all tables and shards must be equal.
2. The analysis of a long video alone: CPU seconds of the largest window and of joining them, against one piece.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from beam_pipeline.config import load_config
from benchmarks.measure import cpu_of_call, loop_copy, make_h264, markdown_table, real_videos, watch_launcher
from explore.outputs import read_manifest
from storage.sources import list_videos, make_spec
from storage.stage_output import StageOutput
from storage.store import Store
from transforms.analyze import AnalyzeVideo
from transforms.ingest import ProbeVideo
from transforms.stage import Stage

WORKERS = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
PIECE_S = 60
# A few clips are kept, so that shards are compared too; nearly all of the work is analysis.
SETTINGS = (
    "--set=text.model=none",
    "--set=thresholds.limits.motion_score.min=7",
    "--set=thresholds.limits.start_s={max: 240}",
)
WINDOWS = {"windows of 10 minutes": 600, "one piece": 1_000_000}


def make_input(folder: Path, hours: float, short: int) -> Path:
    """Writes one long video and `short` ones of a minute, 320x180, of repeated real content."""
    videos = folder / "videos"
    videos.mkdir()
    piece = make_h264(folder / "piece.mp4", real_videos(720), (320, 180), PIECE_S * 30, preset="veryfast")
    loop_copy(piece, videos / "long.mp4", round(hours * 3600 / PIECE_S))
    for index in range(short):
        shutil.copyfile(piece, videos / f"short-{index:02d}.mp4")
    return videos


def compare_runs(folder: Path, videos: Path) -> str:
    """Returns rows for windows and for one piece; prints whether files are equal."""
    rows, files = [], []
    for name, window_s in WINDOWS.items():
        output, load = folder / f"out-{window_s}", os.getloadavg()[0]
        run = watch_launcher(
            "--input", str(videos), "--output", str(output), f"--set=run.window_s={window_s}", *SETTINGS, *WORKERS
        )
        cpu = [worker.cpu_s for worker in run.workers]
        shares = " / ".join(f"{100 * seconds / run.wall_s:.0f}" for seconds in cpu)
        peak = max(worker.peak_mib for worker in run.workers)
        rows.append([name, run.wall_s, run.cpu_s, " / ".join(f"{s:.0f}" for s in cpu), shares, peak, load])
        files.append(read_manifest(Store(str(output))))
    counts = {
        path.split("/")[0]: sum(f["count"] for f in files[0] if f["path"].startswith(path))
        for path in ("clips.parquet/", "shards/")
    }
    header = ["analysis", "wall s", "CPU s", "CPU s of each worker", "busy, %", "peak MiB of a worker", "load before"]
    equal = "equal" if files[0] == files[1] else "DIFFERENT"
    return f"{markdown_table(header, rows)}\n\n{len(files[0])} files, {counts}: {equal} bytes"


def compare_windows(folder: Path, minutes: int) -> str:
    """Returns CPU seconds of the analysis in one piece, of windows and of joining."""
    piece = make_h264(folder / "long-piece.mp4", real_videos(720), (640, 360), 1800, preset="veryfast")
    path = str(loop_copy(piece, folder / "long.mp4", minutes))
    config = load_config("embedded")
    (video,) = list_videos(make_spec(path))
    video = dataclasses.replace(video, **ProbeVideo(config.probe).run(video, None))  # type: ignore[arg-type]
    whole, parted = AnalyzeVideo(config.analysis), AnalyzeVideo(config.analysis, config.run.window_s)
    one, many = Store(str(folder / "one-store")), Store(str(folder / "many-store"))
    unsplit = cpu_of_call(lambda: whole.run(video, whole.output(video, one))).cpu_s
    windows = []
    for part in parted.parts(video):
        output = parted.part_stage.output(part, many)
        windows.append(cpu_of_call(partial(_measure, parted.part_stage, part, output)).cpu_s)
    joining = cpu_of_call(lambda: parted.run(video, parted.output(video, many))).cpu_s
    stored = sum(f.stat().st_size for f in (folder / "many-store" / "MeasureWindow").rglob("*.arrow"))
    return markdown_table(
        ["minutes", "in one piece, CPU s", "windows", "largest window", "all windows", "joining", "MiB in the store"],
        [[minutes, unsplit, len(windows), max(windows), sum(windows), joining, stored / 2**20]],
    )


def _measure(stage: Stage[Any], part: Any, output: StageOutput) -> None:
    output.save(stage.run(part, output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long video")
    parser.add_argument("--short", type=int, default=12, help="number of further videos of a minute")
    parser.add_argument("--minutes", type=int, default=20, help="length of the video for the analysis alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as name:
        folder = Path(name)
        videos = make_input(folder, options.hours, options.short)
        print(compare_runs(folder, videos), flush=True)
        print("\n" + compare_windows(folder, options.minutes))


if __name__ == "__main__":
    main()
