"""Checks and options of a job on Dataflow, before it is submitted."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions, WorkerOptions

from beam_pipeline.runners.flink import RunnerError
from storage.uris import is_url

ONE_PROCESS = "no_use_multiple_sdk_containers"


def is_dataflow(runner: str) -> bool:
    """Whether a runner's name means Dataflow."""
    return runner.lower() in ("dataflowrunner", "dataflow")


def prepare_dataflow(options: PipelineOptions, uris: Sequence[str], hints: Mapping[str, Mapping[str, str]]) -> None:
    """Checks the options and adds those that accelerators need.

    Args:
      options: Beam's options; changed in place.
      uris: inputs and output; workers must reach them.
      hints: resource hints by stage.

    Raises:
      RunnerError: if packages or options are missing, a URI is local, or accelerators are asked for twice.
    """
    if importlib.util.find_spec("google.cloud") is None or importlib.util.find_spec("apitools") is None:
        raise RunnerError("Dataflow needs Google's packages: pip install 'spatialbeam[gcp]'")
    if local := [uri for uri in uris if not is_url(uri)]:
        raise RunnerError(f"Dataflow's workers cannot reach {local}: give --input and --output on gs://")
    cloud = options.view_as(GoogleCloudOptions)
    needed: dict[str, Any] = {
        "project": cloud.project,
        "region": cloud.region,
        "temp_location": cloud.temp_location,
        "sdk_container_image": options.view_as(WorkerOptions).sdk_container_image,
    }
    if missing := [f"--{name}" for name, value in needed.items() if not value]:
        raise RunnerError(f"Dataflow needs {', '.join(missing)} (docs/runners/dataflow.md has the whole command)")
    if any("accelerator" in asked for asked in hints.values()):
        service = options.view_as(GoogleCloudOptions).dataflow_service_options or []
        if any(option.startswith("worker_accelerator") for option in service):
            raise RunnerError(
                "accelerators are given to stages by the runner profile and to all workers by worker_accelerator: "
                "remove one of them"
            )
        # One process a machine: one copy of the model on its GPU, shared by the process's threads.
        options.view_as(DebugOptions).add_experiment(ONE_PROCESS)
    logging.getLogger("apache_beam.runners.dataflow").setLevel(logging.INFO)
