"""Execution engines: which runner the options name, and defaults for its options."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import create_runner

from beam_pipeline.runners.dataflow import is_dataflow
from beam_pipeline.runners.flink import RunnerError, is_flink, on_loopback, prepare_flink
from beam_pipeline.runners.local import LocalRunner
from core import determinism

logger = logging.getLogger(__name__)

LOCAL_RUNNERS = frozenset({"fnapirunner"})
GPU_WORKERS = 4
"""Default number of threads that share a GPU: while two use it, the others decode, encode and write."""
PRISM_RUNNERS = frozenset({"prismrunner", "prism"})


@contextmanager
def open_runner(options: PipelineOptions) -> Iterator[Any]:
    """The runner that the options name, with its defaults filled in.

    On exit, what was started for it is stopped.

    Raises:
      RunnerError: if the engine cannot be used; before anything runs.
    """
    if is_local(options):
        if not determinism.is_enabled():
            _leave_this_process(options)
        yield LocalRunner()
        return
    name = runner_name(options)
    with ExitStack() as stack:
        if is_flink(name):
            prepare_flink(options, stack)
        runner = create_runner(name)
        if isinstance(runner, PortableRunner):
            _end_job_server(runner, stack)
        yield runner


def _leave_this_process(options: PipelineOptions) -> None:
    """Moves all work to worker processes: NumPy was imported here before its kernels were chosen."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        return
    if direct.direct_running_mode == "multi_threading":
        direct.direct_num_workers = 1
    direct.direct_running_mode = "multi_processing"
    logger.info(
        "NumPy was imported before this program, with other kernels than its workers take: the job runs in a process "
        "of its own. To run it in this one, call core.determinism.enable() before NumPy is imported"
    )


def _end_job_server(runner: PortableRunner, stack: ExitStack) -> None:
    """Stops the job server that Beam starts when the stack closes.

    Beam stops it at Python's own exit, which the launcher bypasses, and by an interrupt. A process that a shell starts
    in the background ignores interrupts, and so does its job server: each run would wait five seconds, then kill it.
    """
    make = runner.default_job_server

    def make_and_remember(options: PipelineOptions) -> Any:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        server = make(options)
        stack.callback(server.stop)
        return server

    runner.default_job_server = make_and_remember


def make_options(beam_arguments: Sequence[str], *, share_models: bool = False) -> PipelineOptions:
    """Beam's options with this program's defaults filled in.

    `DirectRunner` means Beam's in-process `FnApiRunner`: Beam's own switch would try to download and
    start another engine first, so that the same command behaved differently with and without network.
    All cores are used, one process each: that measures best (docs/performance.md). Threads start two
    seconds sooner, but share the interpreter lock between the calls into native code.

    Args:
      beam_arguments: the command line's options for Beam.
      share_models: local workers are threads of one process, so that a model lies on the GPU once.
    """
    chosen = {argument.split("=")[0].lstrip("-") for argument in beam_arguments}
    options = PipelineOptions(list(beam_arguments))
    standard = options.view_as(StandardOptions)
    if (standard.runner or "DirectRunner").lower() in ("directrunner", "direct"):
        standard.runner = "FnApiRunner"
    if is_local(options):
        direct = options.view_as(DirectOptions)
        if "direct_num_workers" not in chosen:
            cores = os.cpu_count() or 1
            direct.direct_num_workers = min(GPU_WORKERS, cores) if share_models else cores
        if "direct_running_mode" not in chosen and direct.direct_num_workers != 1:
            direct.direct_running_mode = "multi_threading" if share_models else "multi_processing"
    return options


def honors_hints(options: PipelineOptions) -> bool:
    """Whether the engine follows resource hints.

    On other engines each set of hints only starts more worker processes.
    """
    return is_dataflow(runner_name(options))


def threads_per_clip(options: PipelineOptions) -> int:
    """Threads per local worker, so that all workers together use all cores.

    It is 1 on other engines.
    """
    workers = options.view_as(DirectOptions).direct_num_workers or os.cpu_count() or 1
    return max(1, (os.cpu_count() or 1) // workers) if is_local(options) else 1


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs in this process and its children."""
    return runner_name(options).lower() in LOCAL_RUNNERS


def on_this_machine(options: PipelineOptions) -> bool:
    """Whether all workers run on this machine, so that they share its files."""
    name = runner_name(options)
    if options.view_as(PortableOptions).environment_type == "DOCKER":
        return False
    return is_local(options) or name.lower() in PRISM_RUNNERS or (is_flink(name) and on_loopback(options))


def check_gpu(stages: Sequence[str]) -> None:
    """Checks that torch sees a GPU, if stages need one.

    Raises:
      RunnerError: if it has none.
    """
    if not stages or importlib.util.find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        raise RunnerError(
            f"{', '.join(stages)}: set to run on a GPU (device: cuda), but torch finds no GPU on this machine. Set "
            "the device of these models to cpu (docs/configuration.md), or run where there is a GPU"
        )


def runner_name(options: PipelineOptions) -> str:
    """The engine's name."""
    return str(options.view_as(StandardOptions).runner or "")
