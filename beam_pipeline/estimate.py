"""Estimates time and cost of a run from measured costs of its CPU stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import configs
from beam_pipeline.runners.runner_profile import RunnerProfile

COSTS_PATH = Path(configs.__file__).parent / "measured_costs.json"
PER_HOUR, PER_CLIP, PER_KEPT = "hour of video", "candidate clip", "kept clip"
# 40 of 90 candidate clips in the whole-job benchmark (docs/performance.md); other collections will differ.
KEPT_SHARE = 0.44
GIB = float(1 << 30)
# Shuffles that a record passes: one reshuffle, one grouping of rows, and for videos a grouping by id, for clips one of
# shard members.
SHUFFLES_OF_A_CLIP = 3
SHUFFLES_OF_A_VIDEO = 3


def measured_costs() -> dict[str, Any]:
    """The measured costs of stages, written by benchmarks/stage_costs.py."""
    costs: dict[str, Any] = json.loads(COSTS_PATH.read_text(encoding="utf-8"))
    return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated size, time and cost of a run.

    Attributes:
      core_hours: CPU hours by stage.
      clips, kept: expected numbers of candidate and kept clips.
      shuffle_gib, store_gib, shards_gib: bytes through shuffles, in the store, in the shards.
      machine_hours: hours of workers with all cores busy.
      cost_usd: cost of machines and shuffle.
    """

    core_hours: Mapping[str, float]
    clips: float
    kept: float
    shuffle_gib: float
    store_gib: float
    shards_gib: float
    machine_hours: float
    cost_usd: float

    @property
    def total_core_hours(self) -> float:
        return sum(self.core_hours.values())


def estimate_run(
    hours: float, videos: int, costs: Mapping[str, Any], deploy: RunnerProfile, kept_share: float = KEPT_SHARE
) -> Estimate:
    """Scales the measured costs to `hours` of video in `videos` files.

    Stages that were not measured (models outside the measured profile) count nothing. Other videos may cost half or
    twice as much as the measured ones.
    """
    clips = hours * costs["clips_an_hour"]
    kept = clips * kept_share
    amounts = {PER_HOUR: hours, PER_CLIP: clips, PER_KEPT: kept}
    core_hours = {name: stage["cpu_s"] * amounts[stage["per"]] / 3600 for name, stage in costs["stages"].items()}
    sizes = costs["record_bytes"]
    shuffled = clips * sizes["clip"] * SHUFFLES_OF_A_CLIP + videos * sizes["video"] * SHUFFLES_OF_A_VIDEO
    worker, prices = deploy.worker, deploy.prices
    machine_hours = sum(core_hours.values()) / worker.vcpus
    hourly = (
        worker.vcpus * prices.vcpu_hour + worker.ram_gib * prices.ram_gib_hour + worker.disk_gib * prices.disk_gib_hour
    )
    return Estimate(
        core_hours=core_hours,
        clips=clips,
        kept=kept,
        shuffle_gib=shuffled / GIB,
        store_gib=kept * costs["store_bytes_a_clip"] / GIB,
        shards_gib=kept * costs["shard_bytes_a_kept_clip"] / GIB,
        machine_hours=machine_hours,
        cost_usd=machine_hours * hourly + shuffled / GIB * prices.shuffle_gib,
    )
