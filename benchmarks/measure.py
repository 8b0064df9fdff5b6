"""Helpers of the benchmarks: CPU time of calls and processes, test videos, Markdown tables."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from scripts.fetch_test_data import DATA as DATA
from scripts.fetch_test_data import NO_DATA as NO_DATA
from scripts.fetch_test_data import ROOT as ROOT

EXAMPLES = ROOT / "examples" / "videos"
WATCH_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU and wall seconds and peak resident MiB of a call or process."""

    cpu_s: float
    wall_s: float
    peak_mib: float = 0.0


def cpu_of_call(call: Callable[[], Any]) -> Cost:
    """CPU of all threads of this process during a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def cpu_of_command(command: Sequence[str], **environment: str) -> Cost:
    """CPU and peak memory of a process and its children.

    Raises:
      RuntimeError: if the command fails, with the end of what it printed.
    """
    wall = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment}, cwd=ROOT
    )
    printed = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}: {printed[-2000:].decode(errors='replace')}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, time.perf_counter() - wall, usage.ru_maxrss / 1024)


def run_launcher(*arguments: str) -> Cost:
    """Cost of one run of the launcher in a process of its own."""
    return cpu_of_command([sys.executable, "launcher.py", "--no-progress", *arguments])


@dataclass(frozen=True, slots=True)
class WorkerCost:
    """CPU seconds and peak resident MiB of one worker process."""

    cpu_s: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class WatchedRun:
    """Wall and CPU seconds of a run, peak MiB of launcher and workers."""

    wall_s: float
    cpu_s: float
    launcher_peak_mib: float
    workers: tuple[WorkerCost, ...]


def watch_launcher(*arguments: str) -> WatchedRun:
    """Runs the launcher and samples its worker processes twice a second (Linux only).

    What a worker does in its last half second is missing from its own row.

    Raises:
      RuntimeError: if the run fails, with the end of what it printed.
    """
    command = [sys.executable, "launcher.py", "--no-progress", *arguments]
    started = time.perf_counter()
    workers: dict[int, WorkerCost] = {}
    launcher = WorkerCost(0.0, 0.0)
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT)
        while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            launcher = _proc_cost(process.pid) or launcher
            for pid in _workers(process.pid):
                workers[pid] = _proc_cost(pid) or workers.get(pid, launcher)
            time.sleep(WATCH_INTERVAL_S)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            printed.seek(0)
            output = printed.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{command} ended with {process.returncode}: {output}")
    cpu = usage.ru_utime + usage.ru_stime
    return WatchedRun(time.perf_counter() - started, cpu, launcher.peak_mib, tuple(workers.values()))


def _workers(pid: int) -> Iterator[int]:
    """Yields the worker processes below a launcher, without its job server."""
    try:
        children = [
            int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
        ]
        for child in children:
            if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[1:3] == [
                b"-m",
                b"beam_pipeline.runners.worker",
            ]:
                yield child
            else:
                yield from _workers(child)
    except OSError:
        return


def _proc_cost(pid: int) -> WorkerCost | None:
    """CPU and peak memory of a process so far; None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    if peak is None:
        return None
    return WorkerCost((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak) / 1024)


def cpu_of_processes(pids: Sequence[int]) -> float:
    """CPU seconds of running processes so far."""
    return sum(cost.cpu_s for cost in map(_proc_cost, pids) if cost)


def real_videos(min_height: int) -> list[Path]:
    """Returns real multi-shot and moving-camera videos; an example if the test data is absent."""
    names = ("psd_testvideo.mp4", "vipe_dog.mp4", "sam2_juggle.mp4", "bbb_0_30.webm")
    found = [DATA / "videos" / name for name in names if (DATA / "videos" / name).exists()]
    found = found or [EXAMPLES / "bigbuckbunny.mp4"]
    return [path for path in found if _height(path) >= min_height]


def _height(path: Path) -> int:
    with av.open(str(path)) as container:
        return int(container.streams.video[0].height)


def make_h264(
    path: Path,
    sources: Sequence[Path],
    size: tuple[int, int],
    frames: int,
    *,
    preset: str = "fast",
    crf: int = 20,
) -> Path:
    """Encodes the sources in a loop to an H.264 file of 30 fps."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options={"preset": preset, "crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.thread_count = 0
        count = 0
        while count < frames:
            for source in sources:
                with av.open(str(source)) as container:
                    for frame in container.decode(video=0):
                        if count == frames:
                            break
                        scaled = frame.reformat(width=size[0], height=size[1], format="yuv420p")
                        scaled.pts, scaled.time_base = count, Fraction(1, 30)
                        output.mux(stream.encode(scaled))
                        count += 1
        output.mux(stream.encode())
    return path


def loop_copy(source: Path, path: Path, times: int) -> Path:
    """Repeats a video by copying its packets; returns the path."""
    with av.open(str(path), "w") as output:
        target: Any = None
        offset = 0
        for _ in range(times):
            with av.open(str(source)) as container:
                stream = container.streams.video[0]
                if target is None:
                    target = output.add_stream_from_template(stream)
                step = _ticks_per_frame(stream)
                for packet in container.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.dts += offset
                    packet.pts += offset
                    packet.stream = target
                    output.mux(packet)
                offset += stream.frames * step
    return path


def _ticks_per_frame(stream: av.VideoStream) -> int:
    if stream.average_rate is None or stream.time_base is None:
        raise ValueError("a video of unknown frame rate cannot be repeated")
    return round(1 / (stream.average_rate * stream.time_base))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats with three significant digits."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows])
