"""Runs a Flink cluster on this machine, on loopback only: fetch, start, status, heal, stop.

    python -m scripts.flink_local fetch          Flink's files from PyPI, Beam's job server jar from Maven Central
    python -m scripts.flink_local start          one JobManager and two TaskManagers
    python -m scripts.flink_local status
    python -m scripts.flink_local heal           replaces dead TaskManagers
    python -m scripts.flink_local stop           ends what `start` started, and nothing else

Needs Java 11 or 17 to run, and Maven to fetch the jar unless the environment variable FLINK_JOB_SERVER_JAR names one.
See docs/runners/flink.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

FLINK_VERSIONS = {"1.19": "1.19.3", "1.20": "1.20.5", "2.2": "2.2.1"}
DEFAULT_VERSION = "1.19"
DEFAULT_HOME = Path.home() / ".cache" / "spatialbeam" / "flink"
BEAM_JARS = Path.home() / ".apache_beam" / "cache" / "jars"
JAR_VARIABLE = "FLINK_JOB_SERVER_JAR"
QUICK_JAVA = "-XX:TieredStopAtLevel=1"
"""Java's quick compiler only: the optimizing one costs more in short jobs than its code saves."""
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


class FlinkLocalError(RuntimeError):
    """The cluster lacks a requirement; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that `start` started.

    Its start time distinguishes it from a later one with the same id.
    """

    role: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        return _start_time(self.pid) == self.started


@dataclass(slots=True)
class Cluster:
    """A started cluster: address of its REST service, files and processes.

    The JobManager is the first process.
    """

    master: str
    flink_home: str
    jar: str | None = None
    processes: list[Process] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes the state that `status` and `stop` read."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Cluster:
        """Reads the state; raises FlinkLocalError where no cluster was started."""
        if not path.exists():
            raise FlinkLocalError(f"no cluster was started here: {path} does not exist")
        data = json.loads(path.read_text())
        processes = [Process(**p) for p in data["processes"]]
        return cls(data["master"], data["flink_home"], data.get("jar"), processes)


def flink_home(home: Path, version: str) -> Path:
    """Folder of an unpacked Flink."""
    return home / f"flink-{FLINK_VERSIONS[version]}"


def jar_path(version: str) -> Path:
    """Path at which Beam looks for the job server jar."""
    return BEAM_JARS / f"beam-runners-flink-{version}-job-server-{metadata.version('apache-beam')}.jar"


def fetch_flink(home: Path, version: str) -> Path:
    """Downloads Flink's files (about 240 to 310 MB) with pip, without its Python packages.

    `apache-flink-libraries` holds the jars, `apache-flink` the scripts; neither is installed, since they require
    another Beam.

    Raises:
      FlinkLocalError: if pip cannot download them.
    """
    target = flink_home(home, version)
    if (target / "bin" / "jobmanager.sh").exists():
        return target
    full = FLINK_VERSIONS[version]
    with tempfile.TemporaryDirectory(prefix="spatialbeam-flink-", dir=_made(home)) as name:
        folder = Path(name)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        _run([*download, f"apache-flink-libraries=={full}"], "pip")
        _run([*download, "--only-binary=:all:", f"apache-flink=={full}"], "pip")
        tree = _made(folder / "tree")
        for archive in sorted(folder.glob("apache_flink*.whl")):
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(tree, [n for n in wheel.namelist() if n.startswith("pyflink/")])
        for archive in folder.glob("apache-flink-libraries-*.tar.gz"):
            with tarfile.open(archive) as source:
                source.extractall(folder, filter="data")
            shutil.copytree(
                folder / archive.name.removesuffix(".tar.gz") / "deps", tree / "pyflink", dirs_exist_ok=True
            )
        for script in (tree / "pyflink" / "bin").iterdir():
            script.chmod(0o755)
        os.replace(tree / "pyflink", target)
    return target


def fetch_jar(version: str) -> Path:
    """Downloads the job server jar of this Beam from Maven Central.

    For a Flink version; 100 to 300 MB.

    Raises:
      FlinkLocalError: if Maven is not installed, or has no such jar.
    """
    target = jar_path(version)
    if target.exists():
        return target
    if shutil.which("mvn") is None:
        raise FlinkLocalError("mvn is not on the path: install Maven, or give the jar by --flink_job_server_jar=PATH")
    artifact = f"org.apache.beam:beam-runners-flink-{version}-job-server:{metadata.version('apache-beam')}:jar"
    _run(
        ["mvn", "-B", "-q", MAVEN_PLUGIN, f"-Dartifact={artifact}", f"-DoutputDirectory={_made(target.parent)}"], "mvn"
    )
    return target


def default_jar(version: str) -> Path:
    """Path of the job server jar, from the environment or Beam's own."""
    return Path(os.environ.get(JAR_VARIABLE) or jar_path(version))


def start(home: Path, version: str, *, port: int, task_managers: int, slots: int, memory_mib: int) -> Cluster:
    """Starts a JobManager and TaskManagers on loopback and waits until all have registered.

    Beam's job server jar is on their class path if it exists: only then do worker processes live as long as a job.

    Raises:
      FlinkLocalError: if Flink is missing, the port is taken, a cluster runs already, or it does not start.
    """
    flink = flink_home(home, version)
    if not (flink / "bin" / "jobmanager.sh").exists():
        raise FlinkLocalError(f"Flink is not at {flink}: run `python -m scripts.flink_local fetch` first")
    if shutil.which("java") is None:
        raise FlinkLocalError("java is not on the path: install a Java 11 or 17 runtime")
    state = state_path(home, port)
    if state.exists() and any(p.alive for p in Cluster.load(state).processes):
        raise FlinkLocalError(f"a cluster started from here runs at port {port}: stop it first, or give another --port")
    if _port_taken(port):
        raise FlinkLocalError(f"port {port} is taken by another program: give another --port")
    shutil.rmtree(state.parent, ignore_errors=True)
    folder = _made(state.parent)
    jar = default_jar(version)
    _write_configuration(flink, folder, port, slots, memory_mib)
    cluster = Cluster(f"localhost:{port}", str(flink), str(jar.resolve()) if jar.is_file() else None)
    roles = ["jobmanager", *["taskmanager"] * task_managers]
    for index, role in enumerate(roles):
        cluster.processes.append(_start_process(cluster, folder, role, index))
        cluster.save(state)
    try:
        _await_registration(cluster, task_managers)
    except FlinkLocalError:
        stop(home, port)
        raise
    return cluster


def heal(home: Path, port: int) -> int:
    """Replaces dead TaskManagers, as a resource manager would; returns their number."""
    state = state_path(home, port)
    cluster = Cluster.load(state)
    dead = [index for index, process in enumerate(cluster.processes) if index and not process.alive]
    for index in dead:
        cluster.processes[index] = _start_process(cluster, state.parent, "taskmanager", index)
    cluster.save(state)
    return len(dead)


def stop(home: Path, port: int) -> int:
    """Ends the processes that `start` started, TaskManagers first; returns the number still running."""
    state = state_path(home, port)
    alive = [process for process in reversed(Cluster.load(state).processes) if process.alive]
    for process in alive:
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and any(process.alive for process in alive):
        time.sleep(0.2)
    for process in alive:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)
    state.unlink()
    return len(alive)


def state_path(home: Path, port: int) -> Path:
    """State file of the cluster at a port.

    Logs and configuration are in the same folder.
    """
    return home / f"cluster-{port}" / "cluster.json"


def ask(master: str, path: str = "overview") -> dict[str, Any]:
    """Returns an answer of the cluster's REST service, by default its overview."""
    with urllib.request.urlopen(f"http://{master}/{path}", timeout=10) as answer:
        overview: dict[str, Any] = json.load(answer)
    return overview


def _write_configuration(flink: Path, folder: Path, port: int, slots: int, memory_mib: int) -> None:
    configuration = _made(folder / "conf")
    shutil.copytree(flink / "conf", configuration, dirs_exist_ok=True)
    path = configuration / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["env"]["java"]["opts"]["all"] += f" {QUICK_JAVA}"
    for key, value in {
        "rest.port": port,
        "rest.address": "localhost",
        "rest.bind-address": "localhost",
        "jobmanager.rpc.port": free_port(),
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.host": "localhost",
        "taskmanager.memory.process.size": f"{memory_mib}m",
        "taskmanager.memory.network.min": "256m",
        "taskmanager.memory.network.max": "256m",
        "taskmanager.numberOfTaskSlots": slots,
        "classloader.resolve-order": "parent-first",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 10,
        "restart-strategy.fixed-delay.delay": "2 s",
        "io.tmp.dirs": str(_made(folder / "tmp")),
    }.items():
        *groups, name = key.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    path.write_text(yaml.safe_dump(values))


def _start_process(cluster: Cluster, folder: Path, role: str, index: int) -> Process:
    environment = {
        **os.environ,
        "FLINK_HOME": cluster.flink_home,
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LOG_DIR": str(_made(folder / "log")),
    }
    if cluster.jar:
        # Flink's scripts put this after their own jars; from `lib` Flink's classes in Beam's jar would come first.
        environment["HADOOP_CLASSPATH"] = cluster.jar
    with open(folder / "log" / f"{role}-{index}.log", "wb") as log:
        process = subprocess.Popen(
            [str(Path(cluster.flink_home) / "bin" / f"{role}.sh"), "start-foreground"],
            env=environment,
            # Beam's boot program leaves files where its TaskManager was started.
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(role, process.pid, _start_time(process.pid) or "")


def _await_registration(cluster: Cluster, task_managers: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if dead := [p.role for p in cluster.processes if not p.alive]:
            raise FlinkLocalError(f"{dead} ended at once: see the logs in the folder of the state file")
        try:
            if ask(cluster.master)["taskmanagers"] >= task_managers:
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    raise FlinkLocalError(f"the cluster did not come up in {START_TIMEOUT_S:.0f} s: see its logs")


def _start_time(pid: int) -> str | None:
    """Start time of a process as `ps` prints it."""
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    status, _, started = done.stdout.strip().partition(" ")
    return None if not status or status.startswith("Z") else started.strip()


def _port_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def free_port() -> int:
    """Returns a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise FlinkLocalError(f"{name} could not fetch: {(errors or [done.stderr])[0][-600:]}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("fetch", "start", "status", "heal", "stop"))
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help=f"downloads and state; default {DEFAULT_HOME}")
    parser.add_argument("--flink-version", choices=FLINK_VERSIONS, default=DEFAULT_VERSION)
    parser.add_argument("--port", type=int, default=8081, help="of the JobManager's REST service and web page")
    parser.add_argument("--task-managers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="slots of a TaskManager")
    parser.add_argument("--memory-mib", type=int, default=1600, help="of a TaskManager's JVM, SDK workers not included")
    options = parser.parse_args()
    home: Path = options.home.resolve()
    try:
        if options.command == "fetch":
            print(f"Flink: {fetch_flink(home, options.flink_version)}")
            print(f"job server: {os.environ.get(JAR_VARIABLE) or fetch_jar(options.flink_version)}")
        elif options.command == "start":
            cluster = start(
                home,
                options.flink_version,
                port=options.port,
                task_managers=options.task_managers,
                slots=options.slots,
                memory_mib=options.memory_mib,
            )
            print(f"Flink {options.flink_version} runs at http://{cluster.master}: {_described(cluster)}")
        elif options.command == "status":
            print(_described(Cluster.load(state_path(home, options.port))))
        elif options.command == "heal":
            print(f"started {heal(home, options.port)} TaskManagers")
        else:
            print(f"ended {stop(home, options.port)} processes")
    except FlinkLocalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _described(cluster: Cluster) -> str:
    lines = [f"{p.role} {p.pid} {'runs' if p.alive else 'is gone'}" for p in cluster.processes]
    try:
        facts = ask(cluster.master)
        lines.append(f"{facts['slots-total']} slots, {facts['jobs-running']} jobs running")
    except (urllib.error.URLError, OSError) as error:
        lines.append(f"no answer from http://{cluster.master} ({error})")
    return "; ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
