"""What each engine needs: which options are set for the user, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

LOCAL_RUNNERS = frozenset({"fnapirunner"})


class LocalRunner(FnApiRunner):
    """Beam's in-process runner; its worker processes log as the launcher does."""

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs a pipeline whose environments Beam has chosen."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f"{sys.executable} -m beam_pipeline.worker".encode()
        return super().run_via_runner_api(pipeline_proto, options)


def make_runner(options: PipelineOptions) -> Any:
    """The engine that the options name."""
    return LocalRunner() if is_local(options) else options.view_as(StandardOptions).runner


def make_options(beam_arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options with this program's defaults filled in.

    `DirectRunner` means Beam's in-process `FnApiRunner`: Beam's own switch would try to download and
    start another engine first, so that the same command behaved differently with and without network.
    All cores are used, one process each: that measures best (docs/performance.md). Threads start two
    seconds sooner, but share the interpreter lock between the calls into native code.
    """
    chosen = {argument.split("=")[0].lstrip("-") for argument in beam_arguments}
    options = PipelineOptions(list(beam_arguments))
    standard = options.view_as(StandardOptions)
    if (standard.runner or "DirectRunner").lower() in ("directrunner", "direct"):
        standard.runner = "FnApiRunner"
    if is_local(options):
        direct = options.view_as(DirectOptions)
        if "direct_num_workers" not in chosen:
            direct.direct_num_workers = os.cpu_count() or 1
        if "direct_running_mode" not in chosen and direct.direct_num_workers != 1:
            direct.direct_running_mode = "multi_processing"
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs in this process and its children."""
    return (options.view_as(StandardOptions).runner or "").lower() in LOCAL_RUNNERS
