"""What a run would take and cost, from measured costs of the stages: an estimate, for CPU stages only."""

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
# 40 of 90 candidate clips in the whole-job benchmark (docs/performance.md); a collection of your own will differ.
KEPT_SHARE = 0.44
GIB = float(1 << 30)
# All are spread anew once and their rows grouped once; videos are grouped by id before, members of clips after: so many
# shuffles a record passes.
SHUFFLES_OF_A_CLIP = 3
SHUFFLES_OF_A_VIDEO = 3


def measured_costs() -> dict[str, Any]:
    """The figures that benchmarks/stage_costs.py has written."""
    costs: dict[str, Any] = json.loads(COSTS_PATH.read_text(encoding="utf-8"))
    return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Figures of a run that has not happened.

    Attributes:
      core_hours: CPU hours by stage.
      clips, kept: expected numbers of clips.
      shuffle_gib, store_gib, shards_gib: bytes through shuffles, in the store, in the shards.
      machine_hours: workers times hours, all cores busy.
      cost_usd: machines and shuffle.
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

    Stages that were not measured (models that are not in the measured profile) count nothing. Encoding, decoding and
    models are taken as they were on the measured videos: yours may be half or twice as dear.
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
