"""Launcher options and processes of a local Flink cluster for benchmarks."""

from __future__ import annotations

from scripts import flink_local


def flink_options(master: str, jar: str | None) -> tuple[str, ...]:
    """Returns launcher options for a cluster at `HOST:PORT`; `jar` is Beam's job server."""
    named = (f"--flink_job_server_jar={jar}",) if jar else ()
    return ("--runner=FlinkRunner", f"--flink_master={master}", *named)


def options_by_slots(master: str, jar: str | None) -> dict[str, tuple[str, ...]]:
    """Returns launcher options by table name, for one slot and for two."""
    options = flink_options(master, jar)
    return {f"Flink, slots: {slots}": (*options, f"--parallelism={slots}") for slots in (1, 2)}


def cluster_processes(master: str | None) -> list[int]:
    """Process ids of a cluster that `scripts.flink_local` has started; none without a cluster."""
    if master is None:
        return []
    path = flink_local.state_path(flink_local.DEFAULT_HOME, int(master.rsplit(":", 1)[1]))
    return [process.pid for process in flink_local.Cluster.load(path).processes if process.alive]
