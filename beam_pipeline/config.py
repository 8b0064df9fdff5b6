"""The whole job's typed configuration: profiles, files, overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml
from pydantic import Field, ValidationError

from core.settings import Settings
from core.thresholds import ThresholdSettings
from media.download import DownloadSettings
from media.encode import CutSettings
from models.aesthetic import AestheticSettings
from models.annotation import AnnotationSettings
from models.captions import CaptionSettings
from models.duplicates import DuplicateSettings
from models.text.scorer import TextSettings
from models.video_analysis import AnalysisSettings
from storage.sources import URL_SCHEMES
from transforms.dataset import DatasetSettings
from transforms.ingest import ProbeSettings

DEFAULT_PROFILE = "embedded"
RUNNER_PROFILES = ("dataflow",)


class RunSettings(Settings):
    """Settings of the job as a whole."""

    max_failed_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="The run ends with an error when a larger share of the videos failed by a bug of the "
        "program (bad input does not count).",
    )
    url_schemes: tuple[str, ...] = Field(
        URL_SCHEMES,
        description="URL schemes that rows of manifests may name, beside local paths and the manifest's own scheme. "
        "Others, such as webhdfs, ftp or memory, are bad rows.",
    )
    window_s: float = Field(
        600,
        gt=0,
        description="Seconds of the windows in which videos of one and a half times this length and more are decoded "
        "in parallel, where their container allows it. The result is the same for any value.",
    )


class PipelineConfig(Settings):
    """Everything that decides the job's result. Where it runs is said by Beam's own options."""

    run: RunSettings = Field(default_factory=RunSettings, description="The job as a whole.")
    download: DownloadSettings = Field(default_factory=DownloadSettings, description="Videos behind web pages.")
    probe: ProbeSettings = Field(default_factory=ProbeSettings, description="Probing of containers.")
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings, description="The one decode of each video.")
    duplicates: DuplicateSettings = Field(default_factory=DuplicateSettings, description="Near-duplicate clips.")
    text: TextSettings = Field(default_factory=TextSettings, description="On-screen text (OCR detector).")
    aesthetic: AestheticSettings = Field(
        default_factory=AestheticSettings, description="Aesthetic score (CLIP with a linear head)."
    )
    thresholds: ThresholdSettings = Field(default_factory=ThresholdSettings, description="Which clips are kept.")
    cut: CutSettings = Field(default_factory=CutSettings, description="Cutting and encoding of kept clips.")
    annotate: AnnotationSettings = Field(
        default_factory=AnnotationSettings, description="Poses, depth, masks and motion words of kept clips."
    )
    captions: CaptionSettings = Field(
        default_factory=CaptionSettings, description="Captions and category tags of kept clips."
    )
    dataset: DatasetSettings = Field(default_factory=DatasetSettings, description="Layout of the output.")


class ConfigError(ValueError):
    """The configuration is wrong; the message names the key, the value and the remedy."""


def profiles() -> list[str]:
    """Names of the profiles that ship with the program."""
    folder = resources.files("configs")
    names = (p.name[: -len(".yaml")] for p in folder.iterdir() if p.name.endswith(".yaml"))
    return sorted(name for name in names if name not in RUNNER_PROFILES)


def load_config(profile_or_file: str | None = None, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Reads a profile or YAML file over the defaults and applies `a.b=c` overrides.

    Args:
      profile_or_file: name of a shipped profile or path of a YAML file; "embedded" if None.
      overrides: `key.path=value` with a YAML value, later ones win.

    Raises:
      ConfigError: naming every wrong key, its value and what is expected.
    """
    name = profile_or_file or DEFAULT_PROFILE
    values = _merge(PipelineConfig().model_dump(mode="json"), read_yaml(name, profiles(), "--config"))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set takes key.path=value, got {override!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: the value is not YAML ({error})") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        values = _merge(values, value)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or '(whole)'}: {e['msg']} (got {e['input']!r})" for e in error.errors()
        ]
        raise ConfigError(
            f"configuration {name!r} is not valid:\n"
            + "\n".join(lines)
            + "\nRemedy: see `launcher.py config schema` or docs/configuration.md."
        ) from error


def read_yaml(name: str, shipped: Sequence[str], option: str) -> dict[str, Any]:
    """Values of a shipped profile or of a YAML file.

    Raises:
      ConfigError: if there is no such profile or file, or it holds no mapping.
    """
    if name in shipped:
        text = resources.files("configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    elif os.path.isfile(name):
        with open(name, encoding="utf-8") as file:
            text = file.read()
    else:
        raise ConfigError(f"{option} {name!r} is neither a profile nor a file: profiles are {', '.join(shipped)}")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {name!r} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{option} {name!r} must hold a mapping of groups, got {type(values).__name__}")
    return values


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def to_yaml(config: PipelineConfig) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
