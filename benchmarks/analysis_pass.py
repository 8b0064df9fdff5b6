"""CPU time of the analysis pass over that of decoding the same file with PyAV.

Takes real H.264 videos at 720p and 1080p as they are, and the same images re-encoded (x264, preset fast, crf 20). The
passes run in turns in this one process with one decoder thread. A row's ratio is the median over the repetitions of
the pass's CPU time divided by that of the decode right before it, so that a change of the machine's speed cancels out.

The kernels' cost depends on image motion (rows equal to those of the frame before are skipped), the decoder's on the
bit rate: name the source when quoting a number.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import av

from benchmarks.measure import DATA, cpu_of_call, make_h264, markdown_table, real_videos
from core.references import Ref
from core.video_info import VideoInfo
from media.probe import probe_video
from models.video_analysis import AnalysisSettings, analyze_video
from native.frame_stats import FrameStats, available_simd

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
Pass = Callable[[Path], object]


def decode_only(path: Path) -> int:
    """Decodes and drops all frames; returns their number."""
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for _ in container.decode(video=0):
            count += 1
    return count


def decode_and_measure(path: Path, simd: str = "auto") -> int:
    """Decodes all frames and computes the measures of their planes; returns their number."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        half = (stream.width + 1) // 2, (stream.height + 1) // 2
        stats = FrameStats(stream.width, stream.height, chroma_width=half[0], chroma_height=half[1], simd=simd)
        for frame in container.decode(video=0):
            y, u, v = frame.planes
            stats.push((y, y.line_size), (u, u.line_size), (v, v.line_size))
            count += 1
    return count


def analyze(path: Path) -> object:
    """The whole analysis pass: shots, luminance, native-size motion, sample images, clips."""
    return analyze_video(str(path), _info(path), AnalysisSettings(), _keep_nothing)


@cache
def _info(path: Path) -> VideoInfo:
    return probe_video(str(path))


def _keep_nothing(name: str, data: bytes) -> Ref:
    return Ref(path=name, size_bytes=len(data), digest="", media_type="image/jpeg")


# What is compared with the decode alone; each takes a file and may return anything.
PASSES: dict[str, Pass] = {"decode + frame numbers": decode_and_measure, "whole analysis pass": analyze}
REAL_H264 = ("psd_testvideo.mp4", "sam2_juggle.mp4", "vipe_dog.mp4", "deepv2d_golf.mov", "dark_concert_pcm.mov")


def compare(path: Path, passes: dict[str, Pass], repeats: int) -> list[list[str | float]]:
    """Returns rows of pass, CPU ms a frame, ratio to decoding; decoding is first."""
    frames = decode_only(path)  # also warms the file cache and the decoder's code
    analyze(path)
    decode_ms: list[float] = []
    pass_ms: dict[str, list[float]] = {name: [] for name in passes}
    ratios: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(repeats):
        for name, run in passes.items():
            base = cpu_of_call(partial(decode_only, path)).cpu_s
            cost = cpu_of_call(partial(run, path)).cpu_s
            decode_ms.append(1e3 * base / frames)
            pass_ms[name].append(1e3 * cost / frames)
            ratios[name].append(cost / base)
    rows: list[list[str | float]] = [["decode only", statistics.median(decode_ms), "1"]]
    for name in passes:
        spread = f"{min(ratios[name]):.3f} to {max(ratios[name]):.3f}"
        rows.append([name, statistics.median(pass_ms[name]), f"{statistics.median(ratios[name]):.3f} ({spread})"])
    return rows


def _describe(path: Path) -> str:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        megabits = path.stat().st_size * 8 / (container.duration or 1)
        return f"{path.name}, {stream.height}p, {megabits:.1f} Mb/s"


def main() -> None:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="frames of each test file (default: 300)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each pass (default: 5)")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--simd", choices=["auto", *available_simd()], default="auto", help="code path of the native kernels"
    )
    parser.add_argument("--source", type=Path, help="video whose images are encoded (default: real test videos)")
    arguments = parser.parse_args()

    passes: dict[str, Pass] = {**PASSES, "decode + frame numbers": partial(decode_and_measure, simd=arguments.simd)}
    sources = [arguments.source] if arguments.source else real_videos(0)
    rows: list[list[str | float]] = []
    for name in REAL_H264:
        path = DATA / "videos" / name
        if path.exists() and not arguments.source:
            rows += [[_describe(path), *row] for row in compare(path, passes, arguments.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sizes:
            path = make_h264(Path(folder) / f"{name}.mp4", sources, SIZES[name], arguments.frames)
            rows += [[_describe(path), *row] for row in compare(path, passes, arguments.repeats)]
    print(markdown_table(["video", "pass", "CPU ms a frame", "ratio to decode: median (range)"], rows))


if __name__ == "__main__":
    main()
