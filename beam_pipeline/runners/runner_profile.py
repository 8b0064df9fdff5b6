"""Runner profiles: engine options, machines, prices. They never change a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationError

from beam_pipeline.config import RUNNER_PROFILES, ConfigError, read_yaml
from core.settings import Settings
from transforms.stage import StageBase


class StageResources(Settings):
    """Resources that one stage requests."""

    min_ram_gib: float | None = Field(None, gt=0, description="Memory of a worker, GiB.")
    accelerator: str | None = Field(None, description="Accelerator in the engine's own words; overrules `accelerator`.")


class WorkerSize(Settings):
    """One worker machine, for the estimate."""

    vcpus: int = Field(4, ge=1, description="Virtual cores.")
    ram_gib: float = Field(16, gt=0, description="Memory, GiB.")
    disk_gib: float = Field(50, ge=0, description="Disk, GiB.")


class Prices(Settings):
    """Prices in US dollars, for the estimate."""

    vcpu_hour: float = Field(0.056, ge=0, description="One virtual core for an hour.")
    ram_gib_hour: float = Field(0.003557, ge=0, description="One GiB of memory for an hour.")
    disk_gib_hour: float = Field(0.000054, ge=0, description="One GiB of disk for an hour.")
    accelerator_hour: float = Field(0.71, ge=0, description="One accelerator for an hour.")
    shuffle_gib: float = Field(0.011, ge=0, description="One GiB through a shuffle.")


class RunnerProfile(Settings):
    """A runner profile."""

    options: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict, description="Beam options by name, used unless given on the command line."
    )
    accelerator: str | None = Field(
        None, description="Accelerator of the stages whose models run on a GPU (`device: cuda`), and of no other."
    )
    stages: dict[str, StageResources] = Field(default_factory=dict, description="Further resources, by stage.")
    worker: WorkerSize = Field(default_factory=WorkerSize, description="A worker machine, for the estimate.")
    prices: Prices = Field(default_factory=Prices, description="Prices, for the estimate.")


def load_runner_profile(profile_or_file: str | None) -> RunnerProfile:
    """Reads a runner profile; None gives an empty one.

    Raises:
      ConfigError: naming every wrong key, its value and what is expected.
    """
    if profile_or_file is None:
        return RunnerProfile()
    values = read_yaml(profile_or_file, RUNNER_PROFILES, "--deploy")
    try:
        return RunnerProfile.model_validate(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise ConfigError(f"runner profile {profile_or_file!r} is not valid:\n" + "\n".join(lines)) from error


def add_options(deploy: RunnerProfile, beam_arguments: Sequence[str]) -> list[str]:
    """Beam's arguments, with the profile's options that the command line does not set."""
    chosen = {argument.split("=")[0].lstrip("-") for argument in beam_arguments}
    added: list[str] = []
    for name, value in deploy.options.items():
        if name in chosen or value is False:
            continue
        for item in value if isinstance(value, list) else [value]:
            added.append(f"--{name}" if item is True else f"--{name}={item}")
    return [*added, *beam_arguments]


def resource_hints(deploy: RunnerProfile, stages: Sequence[StageBase[Any]]) -> dict[str, dict[str, str]]:
    """Beam's resource hints by stage; stages without resource needs are left out.

    Each set of hints makes a separate kind of worker, so equal needs give equal hints.

    Raises:
      ConfigError: if the profile names an unknown stage.
    """
    known = {stage.contract.name for stage in stages}
    if unknown := sorted(set(deploy.stages) - known):
        raise ConfigError(f"the runner profile names stages that there are not: {unknown}; there are {sorted(known)}")
    hints: dict[str, dict[str, str]] = {}
    for stage in stages:
        asked = deploy.stages.get(stage.contract.name, StageResources())
        accelerator = asked.accelerator or (deploy.accelerator if stage.device == "cuda" else None)
        wanted = {"min_ram": asked.min_ram_gib and f"{asked.min_ram_gib:g}GiB", "accelerator": accelerator}
        if any(wanted.values()):
            hints[stage.contract.name] = {name: value for name, value in wanted.items() if value}
    return hints
