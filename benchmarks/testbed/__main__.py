"""Writes rendered clips and a contact sheet: python -m benchmarks.testbed --output FOLDER --seeds 0:40."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.testbed.clips import make_clip, make_plan
from benchmarks.testbed.files import clip_folder, write_clip
from core.arrays import UInt8Array

SHARES = (0.0, 0.35, 0.7, 0.98)
TILE = (240, 135)
SHEET_CLIPS = 20


def seeds_of(text: str) -> range:
    """Returns the seeds of A:B or A:B:STEP."""
    return range(*(int(part) for part in text.split(":")))


def ensure_clip(seed: int, root: Path) -> Path:
    """Renders and writes a clip unless it is there; returns its folder. One thread."""
    cv2.setNumThreads(1)
    folder = clip_folder(root, seed)
    if not (folder / "SOURCE.txt").exists():
        write_clip(make_clip(seed), root)
    return folder


def contact_sheet(root: Path, seeds: Sequence[int]) -> UInt8Array:
    """Returns a contact sheet with one row per clip.

    A row has four frames, and depth and moving pixels of one.
    """
    rows = []
    for seed in seeds:
        folder, plan = clip_folder(root, seed), make_plan(seed)
        video = cv2.VideoCapture(str(folder / "video.mp4"))
        frames = []
        while (read := video.read())[0]:
            frames.append(cv2.resize(read[1], TILE, interpolation=cv2.INTER_AREA))
        tiles = [frames[int(share * len(frames))] for share in SHARES]
        files = sorted((folder / "depth").glob("*.png"))
        chosen = files[int(SHARES[1] * len(files))]
        depth = np.asarray(cv2.imread(str(chosen), cv2.IMREAD_UNCHANGED), np.float32)
        near = np.clip(255 * 1000 / np.maximum(depth, 1000), 0, 255) * (depth > 0)
        tiles.append(cv2.applyColorMap(cv2.resize(near.astype(np.uint8), TILE), cv2.COLORMAP_TURBO))
        mask = np.asarray(cv2.imread(str(folder / "mask" / chosen.name)), np.uint8)
        tiles.append(cv2.resize(mask, TILE))
        row = np.ascontiguousarray(np.hstack(tiles))
        text = (
            f"{seed} {plan.scene}, {plan.motion}, {plan.focal_mm:.0f} mm, moving {mask.mean() / 2.55:.0f} %, "
            f"noise {plan.noise:.1f}, {plan.bit_rate // 1000} kbit/s"
        )
        cv2.rectangle(row, (0, 0), (row.shape[1], 18), (0, 0, 0), -1)
        cv2.putText(row, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        rows.append(row)
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=seeds_of, default=range(0, 40), help="A:B or A:B:STEP")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    with ProcessPoolExecutor(options.processes) as pool:
        list(pool.map(partial(ensure_clip, root=options.output), options.seeds))
    print(f"{len(options.seeds)} clips in {time.perf_counter() - started:.0f} s in {options.output}")
    for first in range(0, len(options.seeds), SHEET_CLIPS):
        part = options.seeds[first : first + SHEET_CLIPS]
        sheet = options.output / f"contact_sheet_{part[0]:04d}.png"
        cv2.imwrite(str(sheet), contact_sheet(options.output, part))
        print(sheet)


if __name__ == "__main__":
    main()
