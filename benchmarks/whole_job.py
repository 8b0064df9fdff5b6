"""CPU time of the job up to cut clips against the reference pipeline.

The reference pipeline follows SpatialVID's scripts: PySceneDetect over the file (content and adaptive detector, every
third frame), three sampled frames a clip by decoding the clip, libvmaf of the file against itself, and one ffmpeg call
a kept clip with the seek after the input. Both sides sample every clip that our analysis finds and cut those that the
same thresholds keep; neither scores text or aesthetics. Both encode with x264 preset fast on one thread.

CPU seconds are printed with and without the encoding of the clips (without: decoding to the clips only).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
from scenedetect import AdaptiveDetector, ContentDetector, SceneManager, open_video

from benchmarks.measure import (
    cpu_of_call,
    cpu_of_command,
    loop_copy,
    make_h264,
    markdown_table,
    real_videos,
    run_launcher,
)
from core.time import FrameSpan
from explore.outputs import read_table
from media.decode import VideoReader
from media.encode import CutSettings, cut_clip
from media.probe import probe_video

PIECE_FRAMES = 1800
# Keeps about half of the clips of these quiet videos, as SpatialVID's thresholds do of its own.
SETTINGS = (
    "--set=text.model=none",
    "--set=thresholds.limits.motion_score={min: 1.2, max: null}",
    "--set=thresholds.limits.luminance_score=null",
)


def reference_costs(path: str, clips: list[dict[str, Any]], folder: Path) -> dict[str, float]:
    """CPU seconds of each step of the reference pipeline."""
    costs = {
        "shots": cpu_of_call(lambda: _detect(path)).cpu_s,
        "sample frames": cpu_of_call(lambda: _sample_all(path, clips, folder)).cpu_s,
    }
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    quiet = ["-nostdin", "-y", "-loglevel", "error"]
    log = folder / "vmaf.csv"
    vmaf = [ffmpeg, *quiet, "-threads", "1", "-i", path, "-threads", "1", "-i", path]
    vmaf += ["-lavfi", f"libvmaf=log_fmt=csv:log_path={log}", "-f", "null", "-"]
    costs["motion (libvmaf)"] = cpu_of_command(vmaf).cpu_s
    cut_s = encoding_s = 0.0
    for clip in (row for row in clips if row["status"] == "kept"):
        span = ["-ss", f"{clip['start_s']:.6f}", "-to", f"{clip['end_s']:.6f}"]
        source = ["-threads", "1", "-i", path]
        encode = ["-map", "0:v", "-threads", "1", "-c:v", "libx264", "-preset", "fast", str(folder / "clip.mp4")]
        nothing = ["-map", "0:v", "-threads", "1", "-c:v", "wrapped_avframe", "-f", "null", "-"]
        cut_s += cpu_of_command([ffmpeg, *quiet, *source, *span, *encode]).cpu_s
        # Cost of encoding alone: the seek before the input decodes only the same frames.
        encoding_s += cpu_of_command([ffmpeg, *quiet, *span, *source, *encode]).cpu_s
        encoding_s -= cpu_of_command([ffmpeg, *quiet, *span, *source, *nothing]).cpu_s
    costs["decoding for the cuts"] = cut_s - encoding_s
    costs["encoding"] = encoding_s
    return costs


def _detect(path: str) -> None:
    manager = SceneManager()
    manager.add_detector(ContentDetector(threshold=21, min_scene_len=15))
    manager.add_detector(AdaptiveDetector(adaptive_threshold=3.0, min_scene_len=15, luma_only=True))
    manager.detect_scenes(open_video(path, backend="opencv"), frame_skip=2)


def _sample_all(path: str, clips: list[dict[str, Any]], folder: Path) -> None:
    for clip in clips:
        _sample(path, clip, folder)


def _sample(path: str, clip: dict[str, Any], folder: Path) -> None:
    capture = cv2.VideoCapture(path)
    capture.set(cv2.CAP_PROP_POS_FRAMES, clip["start_frame"])
    step = max(1, clip["num_frames"] // 3)
    for index in range(clip["num_frames"]):
        found, frame = capture.read()
        if not found:
            break
        if index % step == 0:
            cv2.imwrite(str(folder / f"frame_{index:06d}.jpg"), cv2.resize(frame, (640, 360)))
    capture.release()


def our_costs(path: str, folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Returns CPU seconds of the job in a process of its own, and its clips."""
    output = str(folder / "out")
    total = run_launcher("--direct_num_workers=1", "--input", path, "--output", output, *SETTINGS)
    start_up = run_launcher(
        "--direct_num_workers=1", "--input", str(_tiny(folder)), "--output", str(folder / "tiny"), *SETTINGS
    )
    clips = read_table(output, "clips").to_pylist()
    kept = [row for row in clips if row["status"] == "kept"]
    cut_s = cpu_of_call(lambda: _cut_all(path, kept, folder)).cpu_s
    decode_s = cpu_of_call(lambda: _decode_all(path, kept)).cpu_s
    encoding = cut_s - decode_s
    return {
        "start-up of the job": start_up.cpu_s,
        "analysis, decoding for the cuts, tables": total.cpu_s - start_up.cpu_s - encoding,
        "encoding": encoding,
    }, clips


def _tiny(folder: Path) -> Path:
    path = folder / "tiny.mp4"
    if not path.exists():
        make_h264(path, real_videos(0)[:1], (64, 64), 5)
    return path


def _spans(path: str, clips: list[dict[str, Any]]) -> list[FrameSpan]:
    time_base = probe_video(path).time_base
    names = ("start_frame", "end_frame", "start_pts", "end_pts")
    return [FrameSpan(**{n: c[n] for n in names}, time_base=time_base) for c in clips]


def _cut_all(path: str, clips: list[dict[str, Any]], folder: Path) -> None:
    info = probe_video(path)
    for span in _spans(path, clips):
        cut_clip(path, span, info, CutSettings(), str(folder / "cut.mp4"))


def _decode_all(path: str, clips: list[dict[str, Any]]) -> None:
    for span in _spans(path, clips):
        with VideoReader(path) as reader:
            for _ in reader.frames_in(span):
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 10], help="lengths of the 720p video")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as name:
        folder = Path(name)
        piece = make_h264(folder / "piece.mp4", real_videos(720), (1280, 720), PIECE_FRAMES)
        for minutes in options.minutes:
            path = str(loop_copy(piece, folder / f"video-{minutes:g}.mp4", round(minutes)))
            ours, clips = our_costs(path, folder)
            theirs = reference_costs(path, clips, folder)
            subprocess.run(["rm", "-rf", str(folder / "out"), str(folder / "tiny")], check=True)
            without = [sum(c.values()) - c["encoding"] for c in (theirs, ours)]
            whole = [sum(c.values()) for c in (theirs, ours)]
            rows.append(
                [
                    f"{minutes:g}",
                    f"{sum(c['status'] == 'kept' for c in clips)} of {len(clips)}",
                    *without,
                    without[0] / without[1],
                    *whole,
                    whole[0] / whole[1],
                ]
            )
            print(f"{minutes:g} minutes, CPU seconds by step:")
            for side, costs in (("reference", theirs), ("ours", ours)):
                print(f"  {side}: " + ", ".join(f"{k} {v:.1f}" for k, v in costs.items()), flush=True)
    header = [
        "minutes of 720p",
        "clips kept",
        "reference, no encoding",
        "ours",
        "ratio",
        "reference, all",
        "ours",
        "ratio",
    ]
    print()
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
