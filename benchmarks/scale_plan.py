"""Estimate of a large collection on N workers from measured costs: tables for docs/scale.md.

A simulation, not a run: all cores busy, no machine lost. The longest single item bounds the end: a stage's time is its
CPU over all cores, and never less than its largest item.
"""

from __future__ import annotations

import argparse
import math

from beam_pipeline.estimate import Estimate, estimate_run, measured_costs
from beam_pipeline.runners.runner_profile import load_runner_profile
from benchmarks.measure import markdown_table
from transforms.dataset import DatasetSettings

WORKERS = (1, 10, 100, 1000)


def stages_table(estimate: Estimate, costs: dict[str, object]) -> str:
    """Returns core hours and share of each stage, most expensive first."""
    total = estimate.total_core_hours
    rows = [
        [name, cores, f"{100 * cores / total:.1f} %"]
        for name, cores in sorted(estimate.core_hours.items(), key=lambda item: -item[1])
    ]
    return markdown_table(["stage", "core hours", "share"], [*rows, ["all", total, "100 %"]])


def workers_table(estimate: Estimate, vcpus: int, start_up_s: float) -> str:
    """Returns the hours on N workers, and the share of start-up."""
    rows = []
    for workers in WORKERS:
        hours = estimate.total_core_hours / (workers * vcpus)
        start_up = start_up_s / 3600
        rows.append([workers, workers * vcpus, hours + start_up, f"{100 * hours / (hours + start_up):.1f} %"])
    return markdown_table(["workers", "cores", "hours", "of it work"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=21_000, help="hours of video")
    parser.add_argument("--videos", type=int, default=200_000, help="number of files")
    parser.add_argument("--deploy", default="dataflow", help="runner profile: machines and prices")
    parser.add_argument("--start-up-s", type=float, default=300, help="seconds until all workers are busy (assumed)")
    options = parser.parse_args()
    deploy, costs, layout = load_runner_profile(options.deploy), measured_costs(), DatasetSettings()
    estimate = estimate_run(options.hours, options.videos, costs, deploy)
    sizes = costs["record_bytes"]
    print(
        f"{options.hours:,.0f} hours in {options.videos:,} videos; {estimate.clips:,.0f} clips, "
        f"{estimate.kept:,.0f} kept\n"
    )
    print(stages_table(estimate, costs))
    print("\n" + workers_table(estimate, deploy.worker.vcpus, options.start_up_s))
    files = [
        ["shards", math.ceil(estimate.kept / layout.clips_per_shard), estimate.shards_gib],
        ["files of the clip table", math.ceil(estimate.clips / layout.rows_per_file), ""],
        ["store", math.ceil(estimate.kept * costs["store_files_a_clip"]), estimate.store_gib],
        ["through shuffles", "", estimate.shuffle_gib],
    ]
    print("\n" + markdown_table(["what", "files", "GiB"], files))
    print(f"\nrecords: video {sizes['video']} bytes, clip {sizes['clip']} bytes (largest {sizes['clip_max']})")
    print(f"worker hours: {estimate.machine_hours:,.0f}; cost: {estimate.cost_usd:,.0f} USD")


if __name__ == "__main__":
    main()
