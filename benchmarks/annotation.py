"""CPU time and memory of annotating a clip at 5 frames a second.

The clip is a real sequence with a moving camera, played back and forth so that there is no cut, at 1280 x 720. Longer
clips (--seconds 60 600) show that memory does not grow. Time covers decoding and annotating in a process of its own
with two threads, without imports; memory is the peak of that process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.measure import DATA, EXAMPLES, loop_copy, markdown_table
from core.arrays import UInt8Array
from media.clip_frames import read_clip_frames
from media.probe import probe_video
from models.annotation import AnnotationSettings, annotate_clip
from models.sfm.classical import estimate_poses

FPS = 5.0
FILM_FPS = 30
SOURCES = (DATA / "sequences" / "icl_livingroom1" / "video.mp4", EXAMPLES / "bigbuckbunny.mp4")


def annotate(path: str) -> None:
    """Annotates one clip and prints frames, wall seconds, CPU seconds and peak MiB."""
    wall, cpu = time.perf_counter(), time.process_time()
    info, settings = probe_video(path), AnnotationSettings()
    frames = read_clip_frames(path, info, FPS, settings.max_side_px)
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as folder:
        size = info.display_width, info.display_height
        found = annotate_clip(frames, size, None, settings, estimate_poses, folder, num_threads=2)
    cost = time.perf_counter() - wall, time.process_time() - cpu
    # Not getrusage, which includes what the parent process held when it started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    kind = found.camera_motion_kind if found.pose_ok else "not-usable"
    print(len(found.frame), found.pose_num_windows, kind, *(f"{c:.1f}" for c in cost), f"{peak:.0f}")


def main() -> None:
    """Prints one Markdown table: clips of several lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--clip", help="annotate this clip in this process and print what it took")
    options = parser.parse_args()
    if options.clip:
        annotate(options.clip)
        return
    source = next(path for path in SOURCES if path.exists())
    rows: list[list[str | float]] = []
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as folder:
        for seconds in options.seconds:
            clip = _make_clip(source, Path(folder), seconds)
            rows.append([f"{seconds}", *_in_a_process(clip)])
    print(markdown_table(["seconds of 720p", "frames", "windows", "camera", "wall s", "CPU s", "peak MiB"], rows))


def _make_clip(source: Path, folder: Path, seconds: int) -> Path:
    """Writes the sequence played back and forth for at least `seconds`; returns its path."""
    with av.open(str(source)) as container:
        forth = [
            _widened(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in container.decode(video=0)
        ]
    turn = [*forth, *forth[-2:0:-1]][: FILM_FPS * seconds]
    path = folder / "turn.mp4"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=FILM_FPS, options={"preset": "fast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for count, image in enumerate(turn):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = count, Fraction(1, FILM_FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return loop_copy(path, folder / f"{seconds}.mp4", -(-FILM_FPS * seconds // len(turn)))


def _widened(rgb: UInt8Array) -> UInt8Array:
    """Returns an image at 1280 x 720, scaled evenly to keep square pixels, and cropped."""
    scale = max(1280 / rgb.shape[1], 720 / rgb.shape[0])
    size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
    large = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top, left = (large.shape[0] - 720) // 2, (large.shape[1] - 1280) // 2
    return np.ascontiguousarray(large[top : top + 720, left : left + 1280])


def _in_a_process(clip: Path) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.annotation", "--clip", str(clip)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    main()
