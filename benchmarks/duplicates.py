"""Hash distances of copies and of different videos, and the cost of hashing and grouping.

python -m benchmarks.duplicates [VIDEO ...] [--clips 2000 8000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import apache_beam as beam
import cv2
import numpy as np

from core.annotations import ClipScores, Shot
from core.arrays import UInt8Array
from core.failures import ItemError
from core.records import ClipRecord
from core.time import FrameSpan
from core.video_info import VideoInfo
from media.decode import VideoReader
from media.images import decode_jpeg, encode_jpeg, sample_image
from media.probe import probe_video
from models.duplicates import HASH_BITS, DuplicateSettings, perceptual_hash
from transforms.duplicates import FindDuplicates
from transforms.run_context import RunContext

EVERY, MAX_IMAGES = 50, 6
COPY_SHARE, IMAGES = 0.02, 3
EXAMPLE = "examples/videos/bikes.mp4"
SHOT = Shot(
    start_frame=0,
    end_frame=100,
    start_s=0.0,
    end_s=4.0,
    boundary_kind="start",
    boundary_start_frame=0,
    boundary_confidence=None,
    luminance_mean=100.0,
    motion_mean=3.0,
    motion_normalized_mean=3.0,
)
SCORES = ClipScores(**dict.fromkeys(ClipScores.__dataclass_fields__, 1))


def _halve(rgb: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


COPIES: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "JPEG quality 30": lambda rgb: decode_jpeg(encode_jpeg(rgb, 30)),
    "half size": _halve,
    "half size, JPEG quality 20": lambda rgb: decode_jpeg(encode_jpeg(_halve(rgb), 20)),
    "brighter": lambda rgb: np.clip(rgb * 1.15 + 5, 0, 255).astype(np.uint8),
    "2 % cropped at each side": lambda rgb: rgb[len(rgb) // 50 : -(len(rgb) // 50), rgb.shape[1] // 50 : -8],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", default=sorted(map(str, Path("examples/videos").glob("*.mp4"))))
    parser.add_argument("--clips", nargs="*", type=int, default=[2000, 8000])
    options = parser.parse_args()
    print_distances([images for video in options.videos if (images := read_images(video))])
    for count in options.clips:
        print_grouping(count)


def read_images(video: str) -> list[UInt8Array]:
    """Up to six images of a video, as the analysis would sample them."""
    try:
        with VideoReader(video) as reader:
            found = []
            for decoded in reader.frames():
                if decoded.index % EVERY == 0:
                    found.append(sample_image(decoded.frame, 640, 360))
                if len(found) == MAX_IMAGES:
                    break
            return found
    except ItemError:
        return []


def print_distances(videos: Sequence[Sequence[UInt8Array]]) -> None:
    """Prints the shares of differing bits of copies, and of images of different videos."""
    images = [(index, rgb) for index, video in enumerate(videos) for rgb in video]
    started = time.process_time()
    hashed = [(index, rgb, h) for index, rgb in images if (h := perceptual_hash(rgb)) is not None]
    cost_ms = 1000 * (time.process_time() - started) / len(images)
    print(f"{len(images)} images of {len(videos)} videos; {cost_ms:.2f} CPU ms to hash one")
    for name, copy in COPIES.items():
        apart = [_apart(h, perceptual_hash(copy(rgb)) or bytes(len(h))) for _, rgb, h in hashed]
        print(f"{name}: median {np.median(apart):.3f}, 95 % below {np.percentile(apart, 95):.3f}")
    others = [_apart(a, b) for n, (i, _, a) in enumerate(hashed) for j, _, b in hashed[:n] if i != j]
    if others:
        print(f"other videos: least {min(others):.3f}, 99.9 % above {np.percentile(others, 0.1):.3f}")


def _apart(a: bytes, b: bytes) -> float:
    differing = np.bitwise_count(np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).sum()
    return float(differing) / HASH_BITS


def print_grouping(count: int) -> None:
    """Prints CPU time and recall of grouping planted copies on one local worker."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (count, IMAGES, HASH_BITS // 8), dtype=np.uint8)
    copies = int(COPY_SHARE * count)
    flips = np.packbits(rng.random((copies, IMAGES, HASH_BITS)) < 0.05, axis=2)
    hashes[-copies:] = hashes[:copies] ^ flips
    info = probe_video(EXAMPLE)
    clips = [synthetic_clip(f"v_{i:07d}", info, [p.tobytes() for p in images]) for i, images in enumerate(hashes)]
    started = time.process_time()
    with beam.Pipeline(runner="FnApiRunner") as root:
        found = root | beam.Create(clips) | FindDuplicates(DuplicateSettings()).transform(RunContext("unused"))
        named = found | beam.Filter(lambda clip: clip.duplicate_group is not None) | beam.combiners.Count.Globally()
        _ = named | beam.Map(lambda number: print(f"{number} clips grouped of {2 * copies} planted"))
    seconds = time.process_time() - started
    print(f"{count} clips: {seconds:.1f} CPU s, {1000 * seconds / count:.2f} ms a clip")


def synthetic_clip(clip_id: str, info: VideoInfo, hashes: Sequence[bytes], **changes: Any) -> ClipRecord:
    """Returns a clip record with an id, image hashes and the fields in `changes`."""
    fields: dict[str, Any] = {"width": 1280, "height": 720} | changes
    return ClipRecord(
        clip_id=clip_id,
        video_id="v",
        uri="v.mp4",
        extra={},
        fingerprint="",
        info=info,
        span=FrameSpan(start_frame=0, end_frame=100, start_pts=0, end_pts=100, time_base=Fraction(1, 25)),
        shot=SHOT,
        shot_index=0,
        samples=(),
        cheap_scores=SCORES,
        image_hashes=tuple(value.hex() for value in hashes),
        **fields,
    )


if __name__ == "__main__":
    main()
