"""What is filled in for each engine, and what is refused; no cluster is needed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.runners.portability.prism_runner import PrismRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_pipeline.cli.main import main
from beam_pipeline.runners.engines import check_gpu, make_options, on_this_machine, open_runner
from beam_pipeline.runners.flink import QUICK_JAVA, WORKER_LIFE_MS, RunnerError, prepare_flink
from beam_pipeline.runners.worker_pool import WorkerPool
from transforms.run_context import RunContext, UnreachableStoreError


@contextmanager
def cluster(**facts):
    """The REST service of a Flink cluster, as far as the launcher asks it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/overview" else 404)
            self.end_headers()
            self.wfile.write(
                json.dumps({"taskmanagers": 2, "slots-total": 6, "flink-version": "1.19.3", **facts}).encode()
            )

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def jar(tmp_path):
    path = tmp_path / "server.jar"
    path.touch()
    return path


def flink_options(master, jar, *arguments):
    # Any program will do for Java: only its presence is looked at.
    return make_options(
        [
            "--runner=FlinkRunner",
            f"--flink_master={master}",
            f"--flink_job_server_jar={jar}",
            "--job_server_java_launcher=true",
            *arguments,
        ]
    )


def test_what_the_cluster_knows_is_filled_in_and_workers_are_started(jar):
    with cluster() as master, ExitStack() as stack:
        options = flink_options(master, jar)
        prepare_flink(options, stack)
        assert options.view_as(FlinkRunnerOptions).flink_version == "1.19"
        assert options.view_as(FlinkRunnerOptions).parallelism == 6
        portable = options.view_as(PortableOptions)
        assert portable.environment_type == "EXTERNAL"
        assert portable.environment_config.startswith("localhost:")
        assert portable.environment_cache_millis == WORKER_LIFE_MS
        assert options.view_as(JobServerOptions).job_server_jvm_properties == [QUICK_JAVA]


def test_what_the_user_says_stays(jar):
    with cluster() as master, ExitStack() as stack:
        options = flink_options(
            master,
            jar,
            "--parallelism=3",
            "--environment_type=PROCESS",
            '--environment_config={"command": "boot"}',
            "--environment_cache_millis=0",
            "--job_server_jvm_property=-Xmx1g",
        )
        prepare_flink(options, stack)
        assert options.view_as(FlinkRunnerOptions).parallelism == 3
        assert options.view_as(PortableOptions).environment_type == "PROCESS"
        assert options.view_as(PortableOptions).environment_cache_millis == "0"
        assert options.view_as(JobServerOptions).job_server_jvm_properties == ["-Xmx1g"]


@pytest.mark.parametrize(
    ("facts", "arguments", "message"),
    [
        ({"taskmanagers": 0}, [], "has no TaskManager"),
        ({"flink-version": "1.12.0"}, [], "runs Flink 1.12.0; this Beam has job servers for"),
        ({}, ["--flink_job_server_jar=/no/such.jar"], "is no file"),
        ({}, ["--job_server_java_launcher=no-such-java"], "is not on the path"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(facts, arguments, message, jar):
    with cluster(**facts) as master, ExitStack() as stack, pytest.raises(RunnerError, match=message):
        prepare_flink(flink_options(master, jar, *arguments), stack)


def test_a_cluster_that_does_not_answer_ends_with_a_message(tmp_path, jar, capsys):
    arguments = ["--runner=FlinkRunner", "--flink_master=localhost:1", f"--output={tmp_path / 'out'}"]
    assert main(arguments) == 2
    assert "no Flink cluster answers at http://localhost:1/overview" in capsys.readouterr().err


def test_workers_far_away_must_be_named(jar, monkeypatch):
    answer = {"taskmanagers": 1, "slots-total": 1, "flink-version": "2.2.1"}
    monkeypatch.setattr("beam_pipeline.runners.flink._ask", lambda master: answer)
    with ExitStack() as stack, pytest.raises(RunnerError, match="say where the SDK workers run"):
        prepare_flink(flink_options("flink.example:8081", jar), stack)


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        ([], True),
        (["--runner=PrismRunner"], True),
        (["--runner=FlinkRunner", "--flink_master=localhost:8081"], True),
        (["--runner=FlinkRunner", "--flink_master=localhost:8081", "--environment_type=DOCKER"], False),
        (["--runner=FlinkRunner", "--flink_master=flink.example:8081"], False),
        (["--runner=DataflowRunner"], False),
    ],
)
def test_live_progress_is_for_workers_on_this_machine(arguments, here):
    assert on_this_machine(make_options(arguments)) is here


def test_a_portable_runner_runs_on_workers_of_the_pool():
    with WorkerPool() as pool:
        options = PipelineOptions(
            runner="PortableRunner",
            job_endpoint="embed",
            environment_type="EXTERNAL",
            environment_config=pool.address,
        )
        with beam.Pipeline(options=options) as root:
            assert_that(root | beam.Create([1, 2]) | beam.Map(lambda n: n * n), equal_to([1, 4]))


def test_a_worker_that_cannot_see_the_store_says_so(tmp_path):
    context = RunContext(str(tmp_path / "store"))
    with pytest.raises(UnreachableStoreError, match="share under one path"):
        context.open_store()
    context.make_store()
    assert context.open_store().root_uri == context.store_uri


def test_local_workers_are_threads_where_models_lie_on_a_gpu():
    def mode(*arguments, share_models):
        options = make_options(["--direct_num_workers=4", *arguments], share_models=share_models)
        return options.view_as(DirectOptions).direct_running_mode

    assert mode(share_models=False) == "multi_processing"
    assert mode(share_models=True) == "multi_threading"
    assert mode("--direct_running_mode=multi_processing", share_models=True) == "multi_processing"


@pytest.mark.parametrize("sees_one", [True, False])
def test_a_missing_gpu_is_told_before_anything_runs(monkeypatch, sees_one):
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: sees_one), __spec__=object())
    monkeypatch.setitem(sys.modules, "torch", torch)
    with nullcontext() if sees_one else pytest.raises(RunnerError, match="CaptionClips: set to run on a GPU"):
        check_gpu(["CaptionClips"])
    check_gpu([])


def test_a_launcher_in_the_background_can_end_its_job_server(monkeypatch):
    """Shells make background commands ignore interrupts; the job server must not inherit that."""
    ignored = []

    class Server:
        def __init__(self, options):
            command = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
            ignored.append(subprocess.run([sys.executable, "-c", command], check=False).returncode)

        def stop(self):
            ignored.append("stopped")

    monkeypatch.setattr(PrismRunner, "default_job_server", lambda self, options: Server(options))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        options = make_options(["--runner=PrismRunner"])
        with open_runner(options) as runner:
            runner.default_job_server(options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ignored == [0, "stopped"]
