"""Decoding with NVDEC against software: wall time, CPU time, equality of the images.

    python -m benchmarks.gpu.decode [VIDEO ...] [--output results.json]

Without videos, 720p videos are rendered in several codecs. Frames are read as the networks get them: all are decoded,
5 a second turned into RGB.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from media.clip_frames import ClipFrame, read_clip_frames
from media.probe import probe_video

CODECS = {"libx264": {}, "libx265": {"x265-params": "log-level=none"}, "libvpx-vp9": {"deadline": "realtime"}}
SECONDS, FPS, MAX_SIDE_PX = 10, 5.0, 1280


def read(path: str, hardware: bool) -> tuple[list[ClipFrame], float, float]:
    """Annotated frames, wall seconds and CPU seconds."""
    info = probe_video(path)
    begin, cpu = time.perf_counter(), time.process_time()
    frames = list(read_clip_frames(path, info, FPS, MAX_SIDE_PX, hardware=hardware))
    return frames, time.perf_counter() - begin, time.process_time() - cpu


def compare(path: str) -> dict[str, float]:
    read(path, True)  # the first opens the device
    expected, software_s, software_cpu = read(path, False)
    found, gpu_s, gpu_cpu = read(path, True)
    assert [f.index for f in found] == [f.index for f in expected], "other frames"
    pairs = zip(found, expected, strict=True)
    return {
        "frames": len(found),
        "largest difference": max(int(np.abs(a.rgb.astype(int) - b.rgb).max()) for a, b in pairs),
        "software, s": software_s,
        "software, CPU s": software_cpu,
        "GPU, s": gpu_s,
        "GPU, CPU s": gpu_cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = list(arguments.videos)
        rendering = importlib.import_module("tests.support.rendering")
        for codec, options in {} if paths else CODECS.items():
            paths.append(str(Path(folder, f"{codec}.mp4")))
            shot = rendering.render_shot(0, 25 * SECONDS, (1280, 720))
            rendering.write_video(paths[-1], shot, codec=codec, options=options)
        for path in paths:
            found[Path(path).name] = compare(path)
            print(Path(path).name, {name: round(value, 3) for name, value in found[Path(path).name].items()})
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
