"""Frame times behind holes: seeded holes of any place and size in files that state each frame's time.

python -m benchmarks.damaged_time [--holes 500] [--seed 0]

Each hole zeroes bytes between the header and the index. A frame that equals one of the whole file bit for bit is
undamaged, and must keep its time; a hole that moves the last of these has shifted the tail. Frames that the decoder
marks as damaged, and repeats of a frame (what H.264 decoders show for a lost one), are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core.failures import ItemError
from media.decode import DecodedFrame, VideoReader, planes
from tests.support.rendering import Image, render_shot, write_video

SIZE, NUM_FRAMES = (96, 64), 250
MIN_SHARE, MAX_SHARE = 1e-4, 0.2
H264: dict[str, Any] = {"options": {"g": "25", "bf": "2"}}
FILES: dict[str, dict[str, Any]] = {
    "h264.mp4": H264,
    "h264.mov": H264,
    "h264.mkv": H264,
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "25"}},
    "mpeg4_bframes.avi": {"codec": "mpeg4", "options": {"g": "25", "bf": "2"}},
    "h264.avi": H264,
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj422p"},
}
"""Name, which ends in the container's, and how it is encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleResult:
    """What one hole did.

    Attributes:
      num_undamaged: frames that equal one of the whole file.
      num_misplaced: those at another time than there.
      is_tail_shifted: whether the last of them is misplaced.
      is_out_of_order: whether times do not increase strictly.
    """

    num_undamaged: int
    num_misplaced: int
    is_tail_shifted: bool
    is_out_of_order: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holes", type=int, default=500, help="holes in each file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| file | holes | tails shifted | undamaged frames | misplaced | out of order | unreadable |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, how in FILES.items():
            path = write_video(Path(folder) / name, numbered_frames(NUM_FRAMES), **how)
            print(_row(name, list(scan_holes(path, options.holes, options.seed))), flush=True)


def numbered_frames(count: int) -> Iterator[Image]:
    """Frames of one shot, each with its number in it, so that no two are equal."""
    for number, image in enumerate(render_shot(1, count, SIZE)):
        cv2.putText(image, str(number), (2, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
        yield image


def scan_holes(path: Path, count: int, seed: int) -> Iterator[HoleResult | None]:
    """Result of each hole; None where the file could not be read any more."""
    data = path.read_bytes()
    first, end = media_bytes(data, path.suffix)
    pts_of = {_digest(decoded): decoded.pts for decoded in _read(path)}
    if len(pts_of) != NUM_FRAMES:
        raise RuntimeError(f"{path.name} has {len(pts_of)} different frames, expected were {NUM_FRAMES}")
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size = round(np.exp(rng.uniform(np.log(MIN_SHARE), np.log(MAX_SHARE))) * (end - first))
        start = int(rng.integers(first, end - size))
        holed = path.with_name(f"hole{path.suffix}")
        holed.write_bytes(data[:start] + bytes(size) + data[start + size :])
        try:
            yield _result(_read(holed), pts_of)
        except ItemError:
            yield None


def media_bytes(data: bytes, suffix: str) -> tuple[int, int]:
    """Where the frames of a file that FFmpeg wrote begin and end."""
    if suffix in (".mp4", ".mov"):
        start = data.index(b"mdat") + 4
        return start, start - 8 + int.from_bytes(data[start - 8 : start - 4], "big")
    if suffix == ".avi":
        return data.index(b"movi") + 4, data.rindex(b"idx1")
    cluster, cues = b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"
    return data.index(cluster), data.rindex(cues)


def _read(path: Path) -> list[DecodedFrame]:
    with VideoReader(str(path)) as reader:
        return list(reader.frames())


def _digest(decoded: DecodedFrame) -> bytes:
    return hashlib.sha256(planes(decoded.frame).luma().tobytes()).digest()


def _result(frames: list[DecodedFrame], pts_of: dict[bytes, int]) -> HoleResult:
    undamaged: dict[int, int] = {}
    for decoded in frames:
        own_pts = pts_of.get(_digest(decoded))
        if own_pts is not None and not decoded.is_damaged:
            undamaged.setdefault(own_pts, decoded.pts)
    wrong = [pts != own for own, pts in undamaged.items()]
    times = [d.pts for d in frames]
    return HoleResult(
        num_undamaged=len(undamaged),
        num_misplaced=sum(wrong),
        is_tail_shifted=bool(wrong and wrong[-1]),
        is_out_of_order=any(a >= b for a, b in pairwise(times)),
    )


def _row(name: str, results: list[HoleResult | None]) -> str:
    read = [r for r in results if r is not None]
    totals: Counter[str] = Counter()
    for result in read:
        totals["undamaged"] += result.num_undamaged
        totals["misplaced"] += result.num_misplaced
        totals["tails"] += result.is_tail_shifted
        totals["order"] += result.is_out_of_order
    return (
        f"| {name} | {len(results)} | {totals['tails']} | {totals['undamaged']} | {totals['misplaced']} "
        f"| {totals['order']} | {len(results) - len(read)} |"
    )


if __name__ == "__main__":
    main()
