"""Dry run: inputs, stages, models and estimated cost of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from beam_pipeline.config import PipelineConfig
from beam_pipeline.estimate import Estimate, estimate_run, measured_costs
from beam_pipeline.graph import make_stages
from beam_pipeline.runners.runner_profile import RunnerProfile
from core.failures import ItemError
from media.download import is_page
from media.probe import probe_video
from storage.sources import SourceSpec, list_videos
from storage.uris import normalize_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Inputs, stages, models and estimate of a job.

    Attributes:
      unreadable: (URI, message) of inputs that would become failure rows.
      hours: duration of all videos whose header states one.
      unknown_duration: videos without a known duration.
      stages: (name, version, is cached).
      models: by stage, as in `run.json`.
    """

    videos: int
    unreadable: tuple[tuple[str, str], ...]
    hours: float
    unknown_duration: int
    stages: tuple[tuple[str, int, bool], ...]
    models: dict[str, Any]
    output_uri: str
    estimate: Estimate


def make_plan(
    config: PipelineConfig, sources: Sequence[SourceSpec], output_uri: str, deploy: RunnerProfile | None = None
) -> Plan:
    """Plans a job from the listing and the headers of its inputs."""
    unreadable: list[tuple[str, str]] = []
    video_ids: set[str] = set()
    seconds, unknown = 0.0, 0
    for source in sources:
        for video in list_videos(source):
            if video.video_id in video_ids:
                continue
            video_ids.add(video.video_id)
            if video.failure:
                unreadable.append((video.uri, video.failure.message))
                continue
            if config.download.pages and is_page(video.uri):
                unknown += 1
                continue
            try:
                info = probe_video(video.uri)
            except ItemError as error:
                unreadable.append((video.uri, str(error)))
                continue
            if info.duration_s is None:
                unknown += 1
            else:
                seconds += float(info.duration_s)
    stages = make_stages(config)
    return Plan(
        videos=len(video_ids),
        unreadable=tuple(sorted(unreadable)),
        hours=seconds / 3600,
        unknown_duration=unknown,
        stages=tuple((s.contract.name, s.contract.version, s.contract.cached) for s in stages.all),
        models=stages.describe_models(),
        output_uri=normalize_uri(output_uri),
        estimate=estimate_run(seconds / 3600, len(video_ids), measured_costs(), deploy or RunnerProfile()),
    )


def print_plan(plan: Plan, console: Console) -> None:
    """Prints a plan."""
    console.print(
        f"{plan.videos} videos, {plan.hours:.2f} hours"
        + (f" (+ {plan.unknown_duration} of unknown length)" if plan.unknown_duration else "")
        + f"; {len(plan.unreadable)} cannot be read and would become failure rows"
    )
    for uri, message in plan.unreadable[:20]:
        console.print(f"  {uri}: {message}", markup=False, highlight=False)
    table = Table("stage", "version", "results kept in the store", "model", "digest", "license")
    for name, version, cached in plan.stages:
        model = plan.models.get(name) or {}
        table.add_row(
            name,
            str(version),
            "yes" if cached else "no",
            model.get("id") or model.get("reason") or "",
            (model.get("sha256") or "")[:16],
            model.get("license") or "",
        )
    console.print(table)
    estimate = plan.estimate
    console.print(
        "estimate, from the costs measured on the test videos (CPU stages only): "
        f"{estimate.clips:.0f} candidate clips, {estimate.kept:.0f} kept; {estimate.total_core_hours:.2f} core hours, "
        f"{estimate.shards_gib:.2f} GiB of shards, {estimate.store_gib:.2f} GiB in the store; "
        f"{estimate.machine_hours:.2f} worker hours, {estimate.cost_usd:.2f} USD "
        "at the prices of the runner profile",
        markup=False,
        highlight=False,
    )
    console.print(f"output: {plan.output_uri}", markup=False, highlight=False)
