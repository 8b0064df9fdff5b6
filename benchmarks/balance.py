"""Evenness of balanced and of random subsets, and the cost of selecting.

    python -m benchmarks.balance [--clips 100000] [--share 0.135]

The clips are synthetic; their tags are independent and distributed as in SpatialVID's paper (arXiv 2509.09676).
Evenness of an axis is the entropy of its known values over that of equal shares: 1 is even.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.measure import markdown_table
from explore.balance import AXES, select_balanced
from explore.clips import ClipRow

SHARES: dict[str, dict[object, float]] = {
    "scene_type": {"Urban": 40, "Natural Landscape": 20.5, "Interior": 15.5, "Rural": 13, "Waterfront": 11},
    "brightness": {"Bright": 58, "Dim/Dark": 42},
    "time_of_day": {"Daytime": 42, "Dusk/Evening": 17, "Unknown": 16, "Night": 13, "Dawn/Morning": 12},
    "weather": {"Cloudy": 30, "Sunny": 25, "Rainy": 15, "Foggy": 10, "Snowy": 10, "Unknown": 10},
    "crowd_density": {"Deserted": 43, "Sparse": 29, "Crowded": 10, "Moderate": 9.5, "Unknown": 8.5},
    "motion_tags": {"forward": 33.3, "right": 18, "left": 18, "backward": 12, "up": 9, "down": 9.7},
    "camera_motion_kind": {"general": 80, "rotation": 12, "static": 8},
    "traj_turns": {0: 52.9, 1: 39, 2: 7, 3: 1.1},
    "dist_level": {0: 15, 1: 20, 2: 30, 3: 25, 4: 10},
}


def make_rows(count: int, seed: int = 0) -> list[ClipRow]:
    """Rows of kept clips with poses."""
    rng = np.random.default_rng(seed)
    columns = {}
    for axis, shares in SHARES.items():
        weights = np.array(list(shares.values()))
        values = list(shares)
        drawn = rng.choice(len(values), count, p=weights / weights.sum())
        columns[axis] = [[values[k]] if axis == "motion_tags" else values[k] for k in drawn.tolist()]
    return [
        {"clip_id": f"v_{i:07d}", "pose_ok": True} | {axis: column[i] for axis, column in columns.items()}
        for i in range(count)
    ]


def evenness(rows: Sequence[ClipRow], axis: str) -> float:
    """Returns the entropy of an axis' known values over that of equal shares."""
    values = Counter(str(row[axis]) for row in rows if row[axis] != "Unknown")
    shares = np.array(list(values.values())) / values.total()
    known = sum(value != "Unknown" for value in SHARES[axis])
    return float(-(shares * np.log(shares)).sum() / np.log(known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.135, help="share of clips to select; SpatialVID-HQ: 0.135")
    options = parser.parse_args()
    rows = make_rows(options.clips)
    count = round(options.share * options.clips)
    started = time.process_time()
    selection = select_balanced(rows, count)
    seconds = time.process_time() - started
    names = set(selection.clip_ids)
    balanced = [row for row in rows if row["clip_id"] in names]
    by_chance = sorted(rows, key=lambda row: hashlib.sha256(row["clip_id"].encode()).digest())[:count]
    print(f"{count} of {options.clips} clips chosen in {seconds:.1f} CPU s; known values, evenness:")
    table = [[axis, *(evenness(part, axis) for part in (rows, by_chance, balanced))] for axis in AXES]
    print(markdown_table(["axis", "all clips", "chosen by chance", "balanced"], table))


if __name__ == "__main__":
    main()
