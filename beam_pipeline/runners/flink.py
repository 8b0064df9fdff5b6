"""Defaults and checks of a job on Flink: version, job server jar, parallelism, workers."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import urllib.request
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer, FlinkRunner

from beam_pipeline.runners.worker_pool import WorkerPool

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
ANSWER_TIMEOUT_S = 10.0
WORKER_LIFE_MS = 600_000
"""Milliseconds for which Flink keeps a worker process between stages. Needs Beam's jar on the cluster's class path
(docs/runners/flink.md)."""
QUICK_JAVA = "-XX:TieredStopAtLevel=1"
"""Only the first tier of Java's compiler: a job server lives for one job, too short to profit from the second."""
logger = logging.getLogger(__name__)


class RunnerError(ValueError):
    """The engine cannot be used with these options; the message says what to do."""


def is_flink(runner: str) -> bool:
    """Whether a runner's name means Flink."""
    return runner.lower() in ("flinkrunner", "flink")


def on_loopback(options: PipelineOptions) -> bool:
    """Whether the Flink cluster is on this machine."""
    master = options.view_as(FlinkRunnerOptions).flink_master
    return master in ("[local]", "[auto]") or urlsplit(FlinkRunner.add_http_scheme(master)).hostname in LOOPBACK_HOSTS


def prepare_flink(options: PipelineOptions, stack: ExitStack) -> None:
    """Fills in options from the cluster, and starts workers for a cluster on this machine.

    Args:
      options: Beam's options; changed in place.
      stack: stops on exit what was started here.

    Raises:
      RunnerError: if the cluster does not answer or has no workers, versions differ, or Java or the jar is missing.
    """
    flink, portable = options.view_as(FlinkRunnerOptions), options.view_as(PortableOptions)
    if flink.flink_master not in ("[local]", "[auto]"):
        overview = _ask(flink.flink_master)
        if not overview["taskmanagers"]:
            raise RunnerError(f"the Flink cluster at {flink.flink_master} has no TaskManager: start one, or wait")
        flink.flink_version = _beam_version_of(overview["flink-version"])
        if flink.parallelism < 1:
            flink.parallelism = overview["slots-total"]
    _check_java(options)
    server = options.view_as(JobServerOptions)
    server.job_server_jvm_properties = server.job_server_jvm_properties or [QUICK_JAVA]
    portable.environment_cache_millis = portable.environment_cache_millis or WORKER_LIFE_MS
    if portable.environment_type is None and portable.environment_config is None:
        if not on_loopback(options):
            raise RunnerError(
                "say where the SDK workers run: --environment_type=EXTERNAL --environment_config=HOST:PORT for a "
                "worker pool beside each TaskManager, DOCKER with an image, or PROCESS (docs/runners/flink.md)"
            )
        portable.environment_type = "EXTERNAL"
        portable.environment_config = stack.enter_context(WorkerPool()).address


def _ask(master: str) -> dict[str, Any]:
    url = FlinkRunner.add_http_scheme(master).rstrip("/") + "/overview"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            overview: dict[str, Any] = json.load(answer)
    except (OSError, ValueError) as error:
        raise RunnerError(
            f"no Flink cluster answers at {url} ({error}): check --flink_master=HOST:PORT (the port of the web page, "
            "8081 by default) and that the cluster runs"
        ) from error
    return overview


def _beam_version_of(flink_version: str) -> str:
    """Beam's name of a cluster's Flink version."""
    found = re.match(r"\d+\.\d+", flink_version)
    minor = found.group() if found else flink_version
    if minor not in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
        raise RunnerError(
            f"the cluster runs Flink {flink_version}; this Beam has job servers for "
            f"{', '.join(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)}"
        )
    return minor


def _check_java(options: PipelineOptions) -> None:
    """Checks for Java and the job server jar."""
    launcher = options.view_as(JobServerOptions).job_server_java_launcher
    if shutil.which(launcher) is None:
        raise RunnerError(f"{launcher!r} is not on the path: install a Java 11 or 17 runtime for Beam's job server")
    flink = options.view_as(FlinkRunnerOptions)
    if flink.flink_job_server_jar is not None and "://" not in flink.flink_job_server_jar:
        if not os.path.isfile(flink.flink_job_server_jar):
            raise RunnerError(f"--flink_job_server_jar={flink.flink_job_server_jar!r} is no file")
        return
    server = FlinkJarJobServer(options)
    try:
        jar = server.path_to_jar()
        flink.flink_job_server_jar = server.local_jar(jar, options.view_as(JobServerOptions).jar_cache_dir)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunnerError(
            f"Beam's job server jar for Flink {flink.flink_version} cannot be downloaded ({error}). Get "
            f"org.apache.beam:beam-runners-flink-{flink.flink_version}-job-server by Maven and give it by "
            "--flink_job_server_jar=PATH"
        ) from error
