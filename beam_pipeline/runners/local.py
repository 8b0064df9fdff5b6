"""Beam's in-process runner with bounded bundles.

This is the one file that uses private classes of Beam.

Beam cuts a stage's input into as many bundles as there are workers, whatever its size: no option, source split or
number of keys changes that (`FnApiRunner` partitions by `direct_num_workers`; the runner's limits are gathered in
apache/beam#24528). A long stage then shows nothing, and holds everything, until it ends. With another release of Beam
than those tried, runs go on in Beam's own bundles.
"""

from __future__ import annotations

import copy
import itertools
import logging
import sys
from collections import deque
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import apache_beam
from apache_beam.metrics import monitoring_infos
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, ParallelBundleManager
from apache_beam.utils import thread_pool_executor

logger = logging.getLogger(__name__)

TRIED_RELEASES = ("2.77",)
"""Releases of Beam whose private classes are as this file takes them."""

RECORDS_PER_BUNDLE = 200
"""Records that a worker is given at a time: some hundred kilobytes to a megabyte."""


class LocalRunner(FnApiRunner):
    """Beam's in-process runner with bounded bundles and the launcher's logging in workers."""

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs a pipeline whose environments Beam has chosen."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f"{sys.executable} -m beam_pipeline.runners.worker".encode()
        return super().run_via_runner_api(pipeline_proto, options)

    def _get_bundle_manager(self, step: Any) -> Any:
        if step.stage.is_stateful() or step.stage_timer_outputs or not _is_tried():
            return super()._get_bundle_manager(step)
        tokens = self.get_cache_token_generator(static=False)
        return _SmallBundles(step, self._progress_frequency, cache_token_generator=tokens)


@cache
def _is_tried() -> bool:
    """Whether this file was tested with the installed release of Beam."""
    if apache_beam.__version__.rsplit(".", 1)[0] in TRIED_RELEASES:
        return True
    logger.warning(
        "apache-beam %s was not tried with this program (%s was): bundles are as large as Beam makes them, and "
        "progress shows at the end of each stage",
        apache_beam.__version__,
        ", ".join(TRIED_RELEASES),
    )
    return False


class _SmallBundles(ParallelBundleManager):
    """Gives the input of a step to idle workers in bundles of bounded size."""

    def process_bundle(
        self,
        inputs: Mapping[str, Any],
        expected_outputs: Any,
        fired_timers: Any,
        expected_output_timers: Any,
        dry_run: bool = False,
    ) -> Any:
        waiting = _split(inputs, self._num_workers)
        work_off = partial(self._work_off, waiting, (expected_outputs, {}, {}, dry_run))
        workers = self.bundle_context_manager.worker_handlers
        if len(workers) == 1:
            return work_off(workers[0]), []
        with thread_pool_executor.shared_unbounded_instance() as threads:
            return _merged([done for done in threads.map(work_off, workers) if done]), []

    def _work_off(self, waiting: deque[dict[str, list[bytes]]], arguments: tuple[Any, ...], worker: Any) -> Any:
        """Lets one worker process waiting bundles; returns their merged result, or None without any."""
        step = copy.copy(self.bundle_context_manager)
        step._worker_handlers = [worker]
        said = None
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:
                break
            bundle = BundleManager(step, self._progress_frequency, self._cache_token_generator)
            try:
                answer, _ = bundle.process_bundle(part, *arguments)
            except BaseException:
                waiting.clear()
                raise
            said = _merged([said, answer]) if said else answer
        return said


def _split(inputs: Mapping[str, Any], workers: int) -> deque[dict[str, list[bytes]]]:
    """Splits the input of a step into bundles."""
    count = max(1, *map(_count_bundles, inputs.values()))
    count = -(-count // workers) * workers
    parts: list[dict[str, list[bytes]]] = [{} for _ in range(count)]
    for name, buffer in inputs.items():
        for part, data in zip(parts, buffer.partition(count), strict=True):
            part[name] = data
    return deque(parts)


def _count_bundles(buffer: Any) -> int:
    """Number of bundles for a buffer's records; groups stay whole."""
    if isinstance(buffer, GroupingBuffer):
        groups = buffer._table.values()
        return min(len(groups), -(-sum(map(len, groups)) // RECORDS_PER_BUNDLE))
    return len(buffer._inputs)


def _merged(answers: list[Any]) -> Any:
    infos = itertools.chain.from_iterable(answer.process_bundle.monitoring_infos for answer in answers)
    return beam_fn_api_pb2.InstructionResponse(
        process_bundle=beam_fn_api_pb2.ProcessBundleResponse(monitoring_infos=monitoring_infos.consolidate(infos))
    )
