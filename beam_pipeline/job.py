"""One run: prepare, run the graph, check the accounting, write `run.json` and the report."""

from __future__ import annotations

import platform
import posixpath
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricResults, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.config import PipelineConfig
from beam_pipeline.graph import Stages, build_graph, make_stages
from beam_pipeline.progress import ProgressDisplay
from beam_pipeline.runners.dataflow import prepare_dataflow
from beam_pipeline.runners.engines import check_gpu, honors_hints, on_this_machine, open_runner, threads_per_clip
from beam_pipeline.runners.local import LocalRunner
from beam_pipeline.runners.runner_profile import RunnerProfile, resource_hints
from core.accounting import Accounting
from core.digest import digest_value
from core.failures import MACHINE_ERRORS, machine_fault
from core.serialization import to_json_text
from explore.outputs import RUN_FILE, TABLES, read_accounting, remove_stale_files
from explore.report import REPORT_PATH, write_report
from storage.local_files import remove_left_over, work_folder
from storage.sources import SourceSpec
from storage.store import Store
from storage.tables import CONVENTIONS
from storage.uris import normalize_uri
from transforms.analyze import MeasureWindow
from transforms.coders import BYTES, ELEMENTS
from transforms.counters import BUSY_MS, DAMAGED
from transforms.run_context import RunContext, UnreachableStoreError

# As RunInference calls it.
INFERENCE_MICROSECONDS = "inference_batch_latency_micro_secs"
PACKAGES = ("apache-beam", "av", "numpy", "opencv-python-headless", "onnxruntime", "pyarrow", "rapidocr")


class MachineError(RuntimeError):
    """The job ended for a fault of the machine, not of an input; what was done is kept."""


class RunError(RuntimeError):
    """The job ended, but its result must not be trusted; the message says why."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: folder, accounting, wall time, and number of damaged stored objects."""

    output_uri: str
    accounting: Accounting
    seconds: float
    report_path: str
    damaged_results: int = 0


def run_job(
    config: PipelineConfig,
    sources: Sequence[SourceSpec],
    output_uri: str,
    options: PipelineOptions,
    *,
    stages: Stages | None = None,
    deploy: RunnerProfile | None = None,
    show_progress: bool = True,
    trust_output: bool = False,
) -> RunResult:
    """Runs the job and returns its checked result.

    Args:
      config: resolved configuration.
      sources: checked inputs.
      output_uri: folder of the data set.
      options: Beam's options, with this program's defaults (`make_options`).
      stages: those of `config`, where they are built already.
      deploy: machines and prices; they change no result.
      show_progress: whether a live display is shown.
      trust_output: whether stored blobs and shards of earlier runs are believed by their size, without reading them.

    Raises:
      UriError: if the output cannot be written.
      RunnerError: if the engine cannot be used.
      MachineError: if the disk is full, or the store cannot be reached.
      RunError: if the engine gave up, the totals do not balance, or the program failed on too many videos.
    """
    output_uri = normalize_uri(output_uri)
    output = Store(output_uri)
    # What lacks a model or a package must fail before the output is touched.
    stages = stages or make_stages(config)
    hints = _prepare_engine(stages, [*(source.uri for source in sources), output_uri], options, deploy)
    output.check_writable()
    _remove_left_over(output)
    started = time.time()
    with work_folder("progress", tempfile.gettempdir()) as folder:
        watch = on_this_machine(options)
        context = RunContext(
            store_uri=f"{output_uri.rstrip('/')}/store",
            progress_folder=folder if watch else None,
            num_threads=config.annotate.num_threads or threads_per_clip(options),
            trust_output=trust_output,
        )
        context.make_store()
        display = ProgressDisplay(folder, stages) if watch and show_progress else nullcontext()
        with open_runner(options) as runner, display, _engine_errors(runner):
            with beam.Pipeline(runner=runner, options=options) as root:
                build_graph(root, stages, config.dataset, sources, output_uri, context, hints)
            # Before the runner closes: it answers for its metrics.
            metrics = root.result.metrics()
            times, elements = stage_times(stages, metrics), element_sizes(metrics)
            damaged = count_damaged(metrics)
    seconds = time.time() - started
    remove_stale_files(output)
    # Measured windows of long videos are large, and their analyses are stored.
    Store(context.store_uri).remove_folder(MeasureWindow.contract.name)
    accounting = read_accounting(output_uri)
    facts = _run_summary(config, stages, sources, accounting) | {
        "timing": {"started_unix_s": round(started, 3), "seconds": round(seconds, 3)},
        "stage_times": times,
        "elements": elements,
        "damaged_results": damaged,
    }
    output.write_bytes(RUN_FILE, (to_json_text(facts) + "\n").encode(), "application/json")
    report_path = write_report(output_uri)
    _check(accounting, config)
    return RunResult(output_uri, accounting, seconds, report_path, damaged)


def _remove_left_over(output: Store) -> None:
    """Removes temporary files that an interrupted run on this machine left.

    Those of single results go when that result is computed.
    """
    for folder in ("", "shards", posixpath.dirname(REPORT_PATH), *(f"{table}.parquet" for table in TABLES)):
        output.remove_left_over(folder)
    remove_left_over(tempfile.gettempdir())


def _prepare_engine(
    stages: Stages, uris: Sequence[str], options: PipelineOptions, deploy: RunnerProfile | None
) -> dict[str, dict[str, str]]:
    """Checks what the engine needs of the job; returns the hints that it honors."""
    hints = resource_hints(deploy or RunnerProfile(), stages.all)
    if on_this_machine(options):
        check_gpu([stage.contract.name for stage in stages.all if stage.device == "cuda"])
    if not honors_hints(options):
        return {}
    prepare_dataflow(options, uris, hints)
    return hints


@contextmanager
def _engine_errors(runner: Any) -> Iterator[None]:
    """Reports a failed job by its cause, where that is the machine, or by another engine's message."""
    try:
        yield
    except Exception as error:
        if fault := _machine_fault(error):
            raise MachineError(
                f"{fault}; what was done is kept. Remedy: correct that, then run the same command to go on"
            ) from error
        if not isinstance(error, RuntimeError):
            raise
        if isinstance(runner, LocalRunner):
            raise
        raise RunError(f"the job did not come to its end: {error}") from error


def _machine_fault(error: Exception) -> str | None:
    """The machine's fault behind an error of this process, or of a worker whose error arrives as text."""
    if fault := machine_fault(error):
        return fault
    if isinstance(error, UnreachableStoreError) or "UnreachableStoreError" in str(error):
        return "a worker does not reach the store: give --output on a folder that all workers share"
    return next((text for number, text in MACHINE_ERRORS.items() if f"[Errno {number}]" in str(error)), None)


def _run_summary(
    config: PipelineConfig,
    stages: Stages,
    sources: Sequence[SourceSpec],
    accounting: Accounting,
) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json"),
        "config_digest": digest_value(config.model_dump(mode="json")),
        "inputs": [source.uri for source in sources],
        "stages": {s.contract.name: s.contract.version for s in stages.all},
        "models": stages.describe_models(),
        "versions": {
            "python": platform.python_version(),
            "spatialbeam": _version("spatialbeam"),
            **{name: _version(name) for name in PACKAGES},
        },
        "accounting": accounting.as_dict(),
        "conventions": CONVENTIONS,
    }


def stage_times(stages: Stages, metrics: MetricResults) -> dict[str, dict[str, float]]:
    """Records done, reused and failed by each stage in this run, and its busy time.

    `busy_s` is wall time, summed over all workers; a retried bundle counts twice.
    """
    empty = {"done": 0, "reused": 0, "failed": 0, "busy_s": 0.0}
    times = {stage.contract.name: dict(empty) for stage in stages.all}
    found = metrics.query()
    for counter in found[MetricResults.COUNTERS]:
        name, what = counter.key.metric.namespace, counter.key.metric.name
        if name in times and what in times[name]:
            # Engines that commit a count of 0 leave the attempted one out.
            times[name][what] += counter.result or 0
        elif name in times and what == BUSY_MS:
            times[name]["busy_s"] += (counter.result or 0) / 1e3
    for spread in found[MetricResults.DISTRIBUTIONS]:
        name = spread.key.metric.namespace
        if name in times and spread.result and spread.key.metric.name == INFERENCE_MICROSECONDS:
            times[name]["busy_s"] += spread.result.sum / 1e6
    return {name: {what: round(value, 3) for what, value in row.items()} for name, row in times.items()}


def count_damaged(metrics: MetricResults) -> int:
    """Stored objects that this run found damaged and computed anew."""
    found = metrics.query(MetricsFilter().with_name(DAMAGED))[MetricResults.COUNTERS]
    return sum(counter.result or 0 for counter in found)


def element_sizes(metrics: MetricResults) -> dict[str, float]:
    """Number of records passed between stages in this run; mean and largest size in bytes."""
    name = MetricsFilter().with_namespace(ELEMENTS).with_name(BYTES)
    found = (spread.result for spread in metrics.query(name)[MetricResults.DISTRIBUTIONS])
    # A worker without a record reports a spread without bounds.
    spreads = [spread for spread in found if spread and spread.count]
    count, total = sum(s.count for s in spreads), sum(s.sum for s in spreads)
    return {
        "count": count,
        "mean_bytes": round(total / count, 1) if count else 0.0,
        "largest_bytes": max((s.max for s in spreads), default=0),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check(accounting: Accounting, config: PipelineConfig) -> None:
    if problems := accounting.problems():
        raise RunError("the totals do not balance: " + "; ".join(problems) + ". Please report this.")
    if accounting.videos and accounting.buggy_videos / accounting.videos > config.run.max_failed_share:
        raise RunError(
            f"the program failed on {accounting.buggy_videos} of {accounting.videos} videos, more than "
            f"run.max_failed_share={config.run.max_failed_share:g} allows: see failures.parquet"
        )


def default_output(folder: Path | None = None) -> str:
    """The default output folder."""
    return str((folder or Path.cwd()) / "out")
