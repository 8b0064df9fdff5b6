"""Writes rendered clips as the test data's sequences: a video and its truth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.accuracy.trajectories import invert
from benchmarks.testbed.clips import RenderedClip
from core.arrays import UInt8Array

MILLIMETERS = 1000.0
REFERENCE_PIXELS = 640 * 360
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
SOURCE = """Rendered by benchmarks/testbed; plan.json says what.
World in meters; poses are those of a frame's middle row.
depth/: 16-bit PNG in millimeters of every annotated frame, by frame index.
0 is unknown: sky, water, glass, beyond 65 m. mask/: 255 on moving pixels.
intrinsics.txt is the middle frame's; focal_px.txt has each frame's (they differ in zooms).
"""


def clip_folder(root: Path, seed: int) -> Path:
    """Returns the folder of a seed's clip."""
    return root / f"clip_{seed:04d}"


def write_clip(clip: RenderedClip, root: Path) -> Path:
    """Writes a clip's video and truth; returns its folder.

    The layout is that of the test data's sequences (`benchmarks.accuracy.sequences.load_sequence`), with masks.
    """
    folder = clip_folder(root, clip.plan.seed)
    for name in ("depth", "mask"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    encode(folder / "video.mp4", clip.frames, clip.plan.fps, clip.plan.bit_rate)
    poses = invert(clip.cam_from_world)
    lines = (" ".join(f"{x:.9f}" for x in (t, *pose)) for t, pose in zip(clip.times_s, poses, strict=True))
    (folder / "poses.tum").write_text("# t tx ty tz qx qy qz qw (world from camera)\n" + "\n".join(lines) + "\n")
    height, width = clip.frames[0].shape[:2]
    middle = " ".join(f"{x:.6f}" for x in clip.intrinsics_px[len(clip.frames) // 2])
    (folder / "intrinsics.txt").write_text(
        f"# fx fy cx cy width height ; then OpenCV distortion k1 k2 p1 p2 k3\n{middle} {width} {height}\n"
        f"{clip.plan.k1:.6f} 0 0 0 0\n"
    )
    (folder / "focal_px.txt").write_text("".join(f"{x:.6f}\n" for x in clip.intrinsics_px[:, 0]))
    (folder / "plan.json").write_text(json.dumps(asdict(clip.plan), indent=1) + "\n")
    for k, depth in clip.depth_m.items():
        stored = np.rint(np.nan_to_num(depth) * MILLIMETERS).astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{k:05d}.png"), stored, PNG)
        cv2.imwrite(str(folder / "mask" / f"{k:05d}.png"), clip.moving[k].astype(np.uint8) * 255, PNG)
    # Last, as it says that the clip is complete.
    (folder / "SOURCE.txt").write_text(SOURCE)
    return folder


def encode(path: Path, frames: Iterable[UInt8Array], fps: int, bit_rate: int) -> None:
    """Encodes H.264 at a bit rate for 640 x 360, in proportion for other sizes.

    Equal frames give equal bytes.
    """
    with av.open(str(path), "w") as output:
        # Else x264's macroblock tree uses approximations that differ between processors, and between runs.
        options = {"preset": "veryfast", "x264-params": "cpu-independent=1"}
        stream: Any = output.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for count, frame in enumerate(frames):
            if count == 0:
                stream.height, stream.width = frame.shape[:2]
                stream.bit_rate = bit_rate * frame.shape[0] * frame.shape[1] // REFERENCE_PIXELS
            encoded = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")
            encoded.pts, encoded.time_base = count, Fraction(1, fps)
            output.mux(stream.encode(encoded))
        output.mux(stream.encode())
