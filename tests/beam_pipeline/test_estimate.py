from __future__ import annotations

import pytest

from beam_pipeline.config import load_config
from beam_pipeline.estimate import PER_CLIP, PER_HOUR, PER_KEPT, estimate_run, measured_costs
from beam_pipeline.graph import make_stages
from beam_pipeline.runners.runner_profile import RunnerProfile

COSTS = {
    "clips_an_hour": 100.0,
    "stages": {
        "A": {"per": PER_HOUR, "cpu_s": 3600.0},
        "B": {"per": PER_CLIP, "cpu_s": 36.0},
        "C": {"per": PER_KEPT, "cpu_s": 72.0},
    },
    "record_bytes": {"video": 1000, "clip": 4000, "clip_max": 5000},
    "store_bytes_a_clip": 1 << 21,
    "store_files_a_clip": 10,
    "shard_bytes_a_kept_clip": 1 << 20,
}


def test_costs_scale_with_hours_and_clips_and_prices():
    deploy = RunnerProfile.model_validate(
        {
            "worker": {"vcpus": 2, "ram_gib": 8, "disk_gib": 0},
            "prices": {"vcpu_hour": 1, "ram_gib_hour": 0.5, "disk_gib_hour": 0, "shuffle_gib": 0},
        }
    )
    estimate = estimate_run(10, 20, COSTS, deploy, kept_share=0.5)
    assert estimate.core_hours == {"A": 10.0, "B": 10.0, "C": 10.0}
    assert (estimate.clips, estimate.kept) == (1000, 500)
    assert estimate.machine_hours == pytest.approx(15)
    assert estimate.cost_usd == pytest.approx(15 * (2 * 1 + 8 * 0.5))
    assert estimate.store_gib == pytest.approx(500 / 512)


def test_the_measured_stages_are_those_of_the_job():
    costs = measured_costs()
    stages = make_stages(load_config())
    assert set(costs["stages"]) <= {s.contract.name for s in (*stages.video, *stages.clip)}
    assert {"AnalyzeVideo", "CutClips", "EstimateGeometry"} <= set(costs["stages"])
    assert costs["record_bytes"]["clip_max"] < 10_000
