"""Time and size of a large report, and its loading time in a browser.

The tables are synthetic (100,000 clips of 5,000 videos by default). The kept clips on the page are copies of real
ones, so that their filmstrips have a realistic size:

    python -m benchmarks.report_page OUT
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.scores import NOT_SCORED_REASON
from explore.clip_cards import CLIPS_SHOWN
from explore.clips import Clip, ShardReader, find_clips
from explore.report import write_report
from explore.samples import sample_clips
from storage.manifest import OutputFile, shard_path, table_path, write_manifest, write_shard, write_table
from storage.rows import Row
from storage.shard_members import complete_members
from storage.store import Store
from storage.tables import table_specs

REASONS = ("motion_score below 2", "luminance_score above 140", "ocr_score above 0.3", "aesthetic_score below 4")
POSE_REASONS = ("annotated frames 7 and 8 have no points in common", "annotated frames 3 and 4 are linked by 13 points")


def make_rows(clips: int, videos: int, seed: int = 0) -> dict[str, list[Row]]:
    """Returns synthetic rows of all tables: 40 % of clips kept, 0.1 % failed."""
    rng = np.random.default_rng(seed)
    home = np.sort(rng.integers(0, videos, clips))
    made: dict[str, list[Row]] = {"videos": [], "clips": [], "shots": [], "failures": []}
    counts = np.bincount(home, minlength=videos)
    for v in range(videos):
        uri = f"gs://bucket/videos/{v // 1000:03d}/video-{v:06d}.mp4"
        made["videos"].append(
            {
                "video_id": f"{v:016x}",
                "source_uri": uri,
                "status": "done",
                "num_clips": int(counts[v]),
                "duration_s": 600.0,
            }
        )
    scores = rng.gamma(3.0, 2.0, clips), rng.normal(110, 35, clips).clip(0, 255), rng.beta(0.4, 6, clips)
    for i, v in enumerate(home.tolist()):
        chance = rng.random()
        status = "kept" if chance < 0.4 else "failed" if chance > 0.999 else "rejected"
        row: Row = {
            "clip_id": f"{v:016x}_{i:05d}",
            "video_id": f"{v:016x}",
            "source_uri": made["videos"][v]["source_uri"],
            "status": status,
            "rejection_reasons": [REASONS[int(rng.integers(4))]] if status == "rejected" else [],
            "unchecked_limits": [],
            **{"start_s": 10.0 * i, "end_s": 10.0 * i + 8, "duration_s": float(rng.uniform(3, 15)), "shot_index": i},
            **{"sample_images": [], "fps": 30.0, "resolution": "1280x720", "source_codec": "h264"},
            **{"motion_score": float(scores[0][i]), "luminance_score": float(scores[1][i])},
            **{"motion_normalized": float(scores[0][i] / 2), "ocr_score": float(scores[2][i])},
            "aesthetic_reason": NOT_SCORED_REASON,
        }
        if status == "kept":
            row |= _annotation(rng)
        made["clips"].append(row)
    return made


def _annotation(rng: np.random.Generator) -> Row:
    has_poses = bool(rng.random() < 0.9)
    row: Row = {"shard": shard_path(0, 1), "num_annotated_frames": 47, "pose_ok": has_poses}
    if not has_poses:
        return row | {"pose_reason": POSE_REASONS[int(rng.integers(2))]}
    return row | {
        "camera_motion_kind": "general",
        "move_dist": float(rng.exponential(1.2)),
        "dist_level": int(rng.integers(5)),
        "rot_angle": float(rng.exponential(0.8)),
        "traj_turns": int(rng.poisson(0.6)),
        "dynamic_ratio": float(rng.beta(1, 20)),
        "depth_valid_share": float(rng.beta(6, 2)),
        "motion_tags": ["forward"],
        "scene_type": "Urban",
        "weather": "Cloudy",
        "scene_description": "A street between houses of three floors, with shops below and trees before them.",
    }


def write_dataset(folder: str, rows: dict[str, list[Row]], copies: list[Clip]) -> None:
    """Writes the tables, and a shard of real clips for those on the page."""
    output = Store(folder)
    files = []
    for name, spec in table_specs({}).items():
        ordered = sorted(rows[name], key=lambda row, spec=spec: tuple(row[c] for c in spec.sort_key))  # type: ignore[misc]
        files.append(write_table(output, table_path(name, 0, 1), pa.Table.from_pylist(ordered, schema=spec.schema())))
    kept = sum(row["status"] == "kept" for row in rows["clips"])
    empty = OutputFile(path=shard_path(0, 1), count=kept, size_bytes=0, sha256="")
    write_manifest(output, [*files, empty])
    shown = [row["clip_id"] for row in sample_clips(folder, CLIPS_SHOWN)["kept"]]
    pairs = [(clip_id, copies[i % len(copies)]) for i, clip_id in enumerate(shown)] if copies else []
    for row in rows["clips"]:
        match = dict(pairs).get(row["clip_id"]) if row["status"] == "kept" else None
        if match is not None:
            row |= {name: value for name, value in match.row.items() if name.startswith("clip_") and name != "clip_id"}
    files[0] = write_table(output, table_path("clips", 0, 1), _clip_table(rows["clips"]))
    members = (
        (f"{clip_id}.{suffix}", data)
        for clip_id, clip in pairs
        for suffix, data in complete_members(clip.files).items()
    )
    write_manifest(output, [*files, write_shard(output, shard_path(0, 1), members, kept)])


def _clip_table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(
        sorted(rows, key=lambda row: str(row["clip_id"])), schema=table_specs({})["clips"].schema()
    )


def main() -> None:
    """Makes the data set and the page, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", help="a finished data set with annotated clips, to copy clips from")
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--videos", type=int, default=5_000)
    options = parser.parse_args()
    copies = []
    if options.output:
        copies = list(ShardReader(options.output).read_all(find_clips(options.output, "pose_ok")))
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder, make_rows(options.clips, options.videos), copies)
        clock, cpu = time.perf_counter(), time.process_time()
        page = Path(write_report(folder))
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{options.clips} clips of {options.videos} videos: page of {page.stat().st_size / 1e6:.2f} MB")
        print(f"made in {cpu:.1f} CPU s ({clock:.1f} s); at most {memory:.2f} GiB with the making of the tables")
        _open_in_browser(page)


def _open_in_browser(page: Path) -> None:
    try:
        from tests.support.browser import CHROMIUM, browser
    except ImportError:
        print("not opened in a browser: pytest or websockets is not installed")
        return
    if CHROMIUM is None:
        print("not opened in a browser: Chromium is not installed")
        return
    with browser() as tab:
        tab.open(page.as_uri())
        timing = "performance.getEntriesByType('navigation')[0]"
        loaded = tab.wait(f"{timing}.loadEventEnd")
        ready = tab.js(f"{timing}.domContentLoadedEventEnd")
        print(f"Chromium, software rendering: read in {ready:.0f} ms, loaded in {loaded:.0f} ms")


if __name__ == "__main__":
    main()
