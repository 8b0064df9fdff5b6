"""What each engine needs: which options are set for the user, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

LOCAL_RUNNERS = frozenset({"fnapirunner"})


def make_options(beam_arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options with this program's defaults filled in.

    `DirectRunner` means Beam's in-process `FnApiRunner`: Beam's own switch would try to download and
    start another engine first, so that the same command behaved differently with and without network.
    All cores are used, one process each: that measures best (docs/performance.md). Threads start two
    seconds sooner, but share the interpreter lock between the calls into native code.
    """
    options = PipelineOptions(list(beam_arguments))
    standard = options.view_as(StandardOptions)
    if (standard.runner or "DirectRunner").lower() in ("directrunner", "direct"):
        standard.runner = "FnApiRunner"
    if is_local(options):
        direct = options.view_as(DirectOptions)
        chosen = {a.split("=")[0].lstrip("-") for a in beam_arguments}
        if "direct_num_workers" not in chosen:
            direct.direct_num_workers = os.cpu_count() or 1
        if "direct_running_mode" not in chosen and direct.direct_num_workers != 1:
            direct.direct_running_mode = "multi_processing"
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs in this process and its children."""
    return (options.view_as(StandardOptions).runner or "").lower() in LOCAL_RUNNERS
