"""Runner profiles: options, resource hints, what Dataflow refuses, estimates."""

from __future__ import annotations

import apache_beam as beam
import pytest

from beam_pipeline.config import ConfigError, load_config
from beam_pipeline.graph import build_graph, make_stages
from beam_pipeline.runners.dataflow import prepare_dataflow
from beam_pipeline.runners.engines import make_options
from beam_pipeline.runners.flink import RunnerError
from beam_pipeline.runners.runner_profile import RunnerProfile, add_options, load_runner_profile, resource_hints
from storage.sources import SourceSpec
from transforms.dataset import DatasetSettings
from transforms.run_context import RunContext
from transforms.thresholds import ApplyThresholds

DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=p",
    "--region=r",
    "--temp_location=gs://b/t",
    "--sdk_container_image=image",
]


class OnGpu(ApplyThresholds):
    device = "cuda"


def test_the_command_line_wins_over_the_profile():
    deploy = RunnerProfile(options={"runner": "DataflowRunner", "labels": ["a=1", "b=2"], "no_auth": True, "x": False})
    given = add_options(deploy, ["--runner=DirectRunner"])
    assert given == ["--labels=a=1", "--labels=b=2", "--no_auth", "--runner=DirectRunner"]


def test_the_shipped_profile_names_stages_that_there_are():
    stages = make_stages(load_config())
    hints = resource_hints(load_runner_profile("dataflow"), stages.all)
    assert hints == {"EstimateGeometry": {"min_ram": "4GiB"}}


def test_only_stages_on_a_gpu_get_one():
    deploy = load_runner_profile("dataflow")
    config = load_config()
    stage = OnGpu("RejectEarly", config.thresholds, frozenset())
    hints = resource_hints(deploy, [stage, *make_stages(config).clip[1:]])
    assert [name for name, asked in hints.items() if "accelerator" in asked] == [stage.contract.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {Nonsense: {min_ram_gib: 1}}", "names stages that there are not: \\['Nonsense'\\]"),
        ("prices: {vcpu_hour: -1}", "prices.vcpu_hour"),
        ("machines: 3", "machines"),
    ],
)
def test_mistakes_in_a_profile_name_the_key(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        resource_hints(load_runner_profile(str(path)), make_stages(load_config()).clip)


def environments(hints, tmp_path):
    root = beam.Pipeline(runner="FnApiRunner")
    context = RunContext(str(tmp_path / "store"))
    build_graph(
        root,
        make_stages(load_config()),
        DatasetSettings(),
        [SourceSpec(uri=str(tmp_path))],
        str(tmp_path),
        context,
        hints,
    )
    components = root.to_runner_api().components
    return components, [e for e in components.environments.values() if e.resource_hints]


def test_hints_stay_on_their_stage_which_gets_all_clips_spread_anew(tmp_path):
    components, asking = environments({"ScoreText": {"accelerator": "type:nvidia-l4;count:1"}}, tmp_path)
    assert len(asking) == 1
    names = [t.unique_name for t in components.transforms.values()]
    assert "Clips/SpreadForScoreText" in names
    steps = [
        t.unique_name
        for t in components.transforms.values()
        if t.environment_id and components.environments[t.environment_id].resource_hints
    ]
    assert steps
    assert all(f"{name}/".startswith("Clips/ScoreText/") for name in steps)


def test_without_hints_there_is_one_environment(tmp_path):
    components, asking = environments({}, tmp_path)
    assert not asking
    assert len(components.environments) == 1


@pytest.mark.parametrize(
    ("arguments", "places", "hints", "message"),
    [
        (DATAFLOW, ["/home/me/videos", "gs://b/out"], {}, "cannot reach \\['/home/me/videos'\\]"),
        (DATAFLOW[:2], ["gs://b/out"], {}, "needs --region, --temp_location, --sdk_container_image"),
        (
            [*DATAFLOW, "--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"],
            ["gs://b/out"],
            {"A": {"accelerator": "type:nvidia-l4"}},
            "remove one of them",
        ),
    ],
)
def test_dataflow_refuses_what_cannot_work(arguments, places, hints, message, monkeypatch):
    monkeypatch.setattr("beam_pipeline.runners.dataflow.importlib.util.find_spec", lambda name: object())
    with pytest.raises(RunnerError, match=message):
        prepare_dataflow(make_options(arguments), places, hints)


def test_a_job_with_gpus_has_one_process_on_a_machine(monkeypatch):
    monkeypatch.setattr("beam_pipeline.runners.dataflow.importlib.util.find_spec", lambda name: object())
    options = make_options(DATAFLOW)
    prepare_dataflow(options, ["gs://b/out"], {"A": {"accelerator": "type:nvidia-l4"}})
    assert options.view_as(beam.options.pipeline_options.DebugOptions).lookup_experiment(
        "no_use_multiple_sdk_containers"
    )
