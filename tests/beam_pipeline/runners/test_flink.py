"""The whole job on a real Flink cluster on loopback: `make test-flink`.

Needs Java, Flink's files (`python -m scripts.flink_local fetch`) and Beam's job server jar: in Beam's cache, where the
same command puts it, or named by the environment variable FLINK_JOB_SERVER_JAR. BEAM_BOOT names Beam's boot program,
for the test of workers that TaskManagers start themselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_manifest, read_table
from scripts import flink_local
from storage.store import Store
from tests.support.paths import EXAMPLES, ROOT

pytestmark = pytest.mark.flink

VIDEOS = ROOT.parent / "shared" / "data" / "videos"
HOME = Path(os.environ.get("FLINK_LOCAL_HOME", flink_local.DEFAULT_HOME))
VERSION = flink_local.DEFAULT_VERSION
BOOT_VARIABLE = "BEAM_BOOT"
TIMEOUT_S = 600


def jar():
    return flink_local.default_jar(VERSION)


@pytest.fixture(scope="module")
def port(request):
    if "flink" not in request.config.getoption("markexpr"):
        pytest.skip("takes minutes: make test-flink runs it")
    if shutil.which("java") is None:
        pytest.skip("java is not on the path")
    if not flink_local.flink_home(HOME, VERSION).exists():
        pytest.skip("Flink is not here: python -m scripts.flink_local fetch")
    if not jar().is_file():
        pytest.skip(f"the job server jar is not at {jar()}: fetch it, or set {flink_local.JAR_VARIABLE}")
    port = flink_local.free_port()
    flink_local.start(HOME, VERSION, port=port, task_managers=2, slots=1, memory_mib=1600)
    yield port
    flink_local.stop(HOME, port)


def command(inputs, output, *arguments):
    return ["--input", str(inputs), "--output", str(output), "--config=demo", "--no-progress", *arguments]


def on_flink(inputs, output, port):
    return command(
        inputs,
        output,
        "--runner=FlinkRunner",
        f"--flink_master=localhost:{port}",
        f"--flink_job_server_jar={jar()}",
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Real videos, enough to lose a worker in the middle, and an unreadable one."""
    folder = tmp_path_factory.mktemp("videos")
    names = ("bear_vp9.webm", "carphone_qcif.mp4", "flower.webm", "bikes.mp4", "truncated_nomoov.mp4")
    sources = [VIDEOS / name for name in names] if VIDEOS.exists() else []
    for source in [*EXAMPLES.glob("*.mp4"), *sources]:
        shutil.copyfile(source, folder / f"{source.parent.parent.name}-{source.name}")
    return folder


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("direct") / "out"
    assert main(command(videos, output, "--runner=DirectRunner")) == 0
    return read_manifest(Store(str(output)))


def test_a_run_on_flink_gives_the_bytes_of_a_local_run(videos, expected, port, tmp_path):
    output = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "launcher.py", *on_flink(videos, output, port)], cwd=ROOT, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0
    assert read_manifest(Store(str(output))) == expected
    assert read_accounting(str(output)).problems() == []
    assert (output / "report" / "index.html").exists()
    shares = videos_by_slot(port)
    assert len(shares) == 2 and sum(shares) == read_accounting(str(output)).videos
    assert max(shares) - min(shares) <= 1, "one slot has more work than the other"


@pytest.mark.parametrize("environment", ["LOOPBACK", "PROCESS"])
def test_other_places_of_the_workers_give_the_same_bytes(environment, videos, expected, port, tmp_path):
    options = [f"--environment_type={environment}"]
    if environment == "PROCESS":
        boot = os.environ.get(BOOT_VARIABLE, "")
        if not Path(boot).is_file():
            pytest.skip(f"{BOOT_VARIABLE} does not name Beam's boot program (docs/runners/flink.md)")
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        settings = {"PATH": path, "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1", "PYTHONPATH": str(ROOT)}
        settings |= {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}
        options.append(f"--environment_config={json.dumps({'command': boot, 'env': settings})}")
    output = tmp_path / "out"
    command = [sys.executable, "launcher.py", *on_flink(videos, output, port), *options]
    assert subprocess.run(command, cwd=ROOT, timeout=TIMEOUT_S, check=False).returncode == 0
    assert read_manifest(Store(str(output))) == expected


def test_a_killed_task_manager_loses_nothing_and_doubles_nothing(videos, expected, port, tmp_path):
    output = tmp_path / "out"
    job = subprocess.Popen([sys.executable, "launcher.py", *on_flink(videos, output, port)], cwd=ROOT)
    try:
        wait_until(lambda: list((output / "store").glob("AnalyzeVideo/*/*/*.json")), job)
        victim = flink_local.Cluster.load(flink_local.state_path(HOME, port)).processes[-1]
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: not victim.alive, job)
        assert job.poll() is None, "the job had ended before the TaskManager was killed"
        assert flink_local.heal(HOME, port) == 1
        assert job.wait(TIMEOUT_S) == 0
    finally:
        job.kill()
    assert restarts(port) >= 1
    assert read_manifest(Store(str(output))) == expected
    assert read_accounting(str(output)).problems() == []
    ids = read_table(str(output), "clips", ["clip_id"])["clip_id"].to_pylist()
    assert len(ids) == len(set(ids))


def steps(port):
    """Flink's status of each slot's task, by the steps of the last job in order."""
    jobs = flink_local.ask(f"localhost:{port}", "jobs/overview")["jobs"]
    last = max(jobs, key=lambda job: job["start-time"])["jid"]
    return [
        (vertex["name"], flink_local.ask(f"localhost:{port}", f"jobs/{last}/vertices/{vertex['id']}")["subtasks"])
        for vertex in flink_local.ask(f"localhost:{port}", f"jobs/{last}")["vertices"]
    ]


def restarts(port):
    """How often the last job was restarted, wholly or in part."""
    return max(task["attempt"] for _, tasks in steps(port) for task in tasks)


def videos_by_slot(port):
    """How many videos each slot has fetched, probed and analyzed."""
    tasks = next(tasks for name, tasks in steps(port) if re.search(r"[{ ]Videos[,}]", name))
    return [task["metrics"]["read-records"] for task in tasks]


def wait_until(condition, job):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert job.poll() is None, "the job ended too soon"
        assert time.monotonic() < deadline
        time.sleep(0.2)
