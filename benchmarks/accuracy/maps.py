"""Errors of depth maps and masks of moving objects: real sequences, DAVIS, rendered sequences.

Clips are annotated as the job does it, with estimated intrinsics; maps are upsampled to the truth's size by nearest
neighbor. Depth: mean relative error and share within a factor of 1.25, over the pixels that have both depths, after one
scale for the whole clip (the median); the share of pixels of known depth that get one; how many errors are within one
and two of the stored standard deviations (68 and 95 % if they were normal). Masks: intersection over union with the
true mask, over all frames; where nothing moves, the share that is marked. DAVIS labels one object only, so other moving
objects count as false there.

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

from benchmarks.accuracy.depths import compare_depths
from benchmarks.accuracy.masks import compare_masks
from benchmarks.accuracy.sequences import TrueSequence, load_sequences, rendered_sequences
from benchmarks.measure import DATA, NO_DATA, markdown_table
from core.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from media.clip_frames import ClipFrames, read_clip_frames
from media.probe import probe_video
from models.annotation.geometry import ClipGeometry, annotate_frames

FPS = 5.0
MAX_SIDE_PX = 640
FILMS = ("handheld, moving things", "orbit", "driving", "still, moving things")
STILL_FILMS = ("handheld", "Dolly In", "Truck Right", "rotation with shake")


def frames_of(images: list[UInt8Array], times_s: Float64Array, size: tuple[int, int]) -> ClipFrames:
    """Returns frames as the job has them after decoding."""
    return ClipFrames(rgb=tuple(images), frame=np.arange(len(images)), time_s=times_s, clip_size=size)


def clips_of(names: list[str]) -> Iterator[tuple[TrueSequence, ClipGeometry, float]]:
    """Yields real and rendered sequences with their annotation and its CPU seconds."""
    films = [f for f in (*FILMS, *STILL_FILMS) if not names or any(name in f for name in names)]
    for sequence in (*load_sequences(names), *rendered_sequences(films)):
        start = time.process_time()
        found = annotate_frames(frames_of(list(sequence.frames), sequence.times_s, sequence.size), None, "estimate")
        yield sequence, found, time.process_time() - start


def depth_row(sequence: TrueSequence, found: ClipGeometry, cpu_s: float) -> list[str | float]:
    """Returns the table cells of depth errors."""
    if found.depth is None or found.depth_sigma is None:
        return [sequence.name, "", "", 0.0, "", "", found.poses.reason or found.poses.motion_kind, cpu_s]
    chosen = sorted(sequence.depth_m)
    truth = np.stack([sequence.depth_m[k] for k in chosen])
    depth, sigma = (enlarged(maps[chosen], sequence.size) for maps in (found.depth, found.depth_sigma))
    error = compare_depths(depth, truth)
    both = (depth > 0) & (truth > 0)
    off = np.abs(error.scale * depth[both] / truth[both] - 1) / np.maximum(sigma[both], 1e-9)
    within = [100 * float((off < limit).mean()) for limit in (1, 2)]
    return [sequence.name, 100 * error.abs_rel, 100 * error.delta1, 100 * error.valid_share, *within, "", cpu_s]


def enlarged(maps: Float32Array, size: tuple[int, int]) -> Float32Array:
    """Returns maps (n, h, w) resized to (width, height)."""
    return np.stack([np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_NEAREST_EXACT), np.float32) for m in maps])


def davis_clip(folder: Path) -> tuple[ClipFrames, BoolArray]:
    """Returns the annotated frames of a DAVIS sequence and the masks of its labeled object."""
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


def davis_rows(names: list[str]) -> Iterator[list[str | float]]:
    """A row for each clip of DAVIS."""
    for folder in sorted((DATA / "masks").glob("*")):
        if not names or any(name in folder.name for name in names):
            frames, truth = davis_clip(folder)
            yield mask_row(folder.name, annotate_frames(frames, None, "estimate"), truth)


def mask_row(name: str, found: ClipGeometry, truth: BoolArray) -> list[str | float]:
    """Returns the table cells of mask errors."""
    poses, moving = found.poses, 100 * float(truth.mean())
    if found.is_moving is None:
        return [name, "", "", "", "", moving, poses.reason or ""]
    marked = enlarged(found.is_moving.astype(np.float32), truth.shape[:0:-1]) > 0
    if not truth.any():
        return [name, "", "", "", 100 * float(marked.mean()), moving, poses.motion_kind]
    agreement = compare_masks(marked, truth)
    shares = ["" if value is None else 100 * value for value in (agreement.precision, agreement.recall)]
    return [name, 100 * agreement.iou, *shares, 100 * float(marked.mean()), moving, poses.motion_kind]


def main() -> None:
    """Prints a table of depths and one of masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", nargs="*", default=[], help="parts of names; all by default")
    options = parser.parse_args()
    if not DATA.exists():
        print(f"{NO_DATA}; only rendered sequences are measured", file=sys.stderr)
    depth_rows: list[list[str | float]] = []
    mask_rows = list(davis_rows(options.sequences))
    for sequence, found, cpu_s in clips_of(options.sequences):
        if sequence.depth_m:
            depth_rows.append(depth_row(sequence, found, cpu_s))
        truth = sequence.moving
        if truth is None:
            truth = np.zeros((len(sequence.frames), *sequence.frames[0].shape[:2]), bool)
        mask_rows.append(mask_row(sequence.name, found, truth))
    header = ["sequence", "abs-rel %", "within 1.25, %", "pixels with depth, %", "within sigma, %", "two, %", "without"]
    print(markdown_table([*header, "CPU s"], depth_rows))
    print()
    header = ["clip", "IoU %", "precision %", "recall %", "marked, %", "truly moving, %", "camera"]
    print(markdown_table(header, mask_rows))


if __name__ == "__main__":
    main()
