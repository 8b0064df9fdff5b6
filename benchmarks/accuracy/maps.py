"""Depth maps and masks of moving things against the truth: real sequences, DAVIS, and rendered films.

Clips are annotated as the job does it, with estimated intrinsics. Depth: mean relative error and share within a factor
of 1.25, over the pixels that have both depths, after one scale for the whole clip (the median); the share of pixels of
known depth that get one. Masks: intersection over union with what is truly marked, over all frames. DAVIS marks one
thing only, so other things that move count as false there.

Run: `python -m benchmarks.accuracy.maps`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.depths import compare_depths
from benchmarks.accuracy.masks import compare_masks
from benchmarks.accuracy.sequences import load_sequences, rendered_sequences
from benchmarks.measure import DATA, markdown_table
from media.clip_frames import ClipFrames, read_clip_frames
from media.probe import probe_video
from models.annotation.geometry import ClipGeometry, annotate_frames

FPS = 5.0
MAX_SIDE_PX = 640
FILMS = ("handheld, moving things", "orbit", "driving", "still, moving things")


def frames_of(
    images: list[npt.NDArray[np.uint8]], times_s: npt.NDArray[np.float64], size: tuple[int, int]
) -> ClipFrames:
    """Frames as the job has them after decoding."""
    return ClipFrames(rgb=tuple(images), frame=np.arange(len(images)), time_s=times_s, clip_size=size)


def depth_rows(names: list[str]) -> Iterator[list[str | float]]:
    """A row for each sequence with true depths."""
    for sequence in load_sequences(names):
        if not sequence.depth_m:
            continue
        start = time.process_time()
        found = annotate_frames(frames_of(list(sequence.frames), sequence.times_s, sequence.size), None, "estimate")
        cpu_s = time.process_time() - start
        if found.depth is None or found.is_depth_valid is None:
            yield [sequence.name, "", "", 0.0, found.poses.reason or found.poses.motion_kind, cpu_s]
            continue
        chosen = sorted(sequence.depth_m)
        depth = np.where(found.is_depth_valid, found.depth, 0)[chosen]
        error = compare_depths(depth, np.stack([sequence.depth_m[k] for k in chosen]))
        yield [sequence.name, 100 * error.abs_rel, 100 * error.delta1, 100 * error.valid_share, "", cpu_s]


def davis_clip(folder: Path) -> tuple[ClipFrames, npt.NDArray[np.bool_]]:
    """Annotated frames of a DAVIS sequence and the masks of its marked thing."""
    path = str(folder / "video.mp4")
    info = probe_video(path)
    chosen = list(read_clip_frames(path, info, FPS, MAX_SIDE_PX))
    frames = ClipFrames.of(chosen, (info.display_width, info.display_height))
    masks = []
    for frame in chosen:
        mask = cv2.imread(str(folder / "mask" / f"{frame.index:05d}.png"), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise FileNotFoundError(f"{folder.name} has no mask of frame {frame.index}")
        masks.append(cv2.resize(mask, frames.size, interpolation=cv2.INTER_NEAREST_EXACT) > 0)
    return frames, np.stack(masks)


def mask_rows(names: list[str]) -> Iterator[list[str | float]]:
    """A row for each clip with true masks."""
    for folder in sorted((DATA / "masks").glob("*")):
        if not names or any(name in folder.name for name in names):
            frames, truth = davis_clip(folder)
            yield _mask_row(folder.name, annotate_frames(frames, None, "estimate"), truth)
    for sequence in rendered_sequences([f for f in FILMS if not names or any(n in f for n in names)]):
        if sequence.moving is not None:
            frames = frames_of(list(sequence.frames), sequence.times_s, sequence.size)
            yield _mask_row(sequence.name, annotate_frames(frames, None, "estimate"), sequence.moving)


def _mask_row(name: str, found: ClipGeometry, truth: npt.NDArray[np.bool_]) -> list[str | float]:
    poses = found.poses
    if found.is_moving is None:
        return [name, "", "", "", 100 * float(truth.mean()), poses.reason or ""]
    agreement = compare_masks(found.is_moving, truth)
    shares = ["" if value is None else 100 * value for value in (agreement.precision, agreement.recall)]
    return [name, 100 * agreement.iou, *shares, 100 * float(truth.mean()), poses.motion_kind]


def main() -> None:
    """Prints a table of depths and one of masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", nargs="*", default=[], help="parts of names; all by default")
    options = parser.parse_args()
    if not DATA.exists():
        print(f"no test data at {DATA}: only rendered films can be measured", file=sys.stderr)
    header = ["sequence", "abs-rel %", "within 1.25, %", "pixels with depth, %", "without", "CPU s"]
    print(markdown_table(header, list(depth_rows(options.sequences))))
    print()
    header = ["clip", "IoU %", "precision %", "recall %", "truly moving, %", "camera"]
    print(markdown_table(header, list(mask_rows(options.sequences))))


if __name__ == "__main__":
    main()
