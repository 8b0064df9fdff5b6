"""A worker pool: starts Beam worker processes for a runner that asks for them (`--environment_type=EXTERNAL`).

    python -m beam_pipeline.runners.worker_pool --port 50000

One runs beside each TaskManager of a Flink cluster. Unlike Beam's own pool it listens on loopback unless told
otherwise, and starts workers with its own interpreter, which log as the launcher does.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.utils import thread_pool_executor
from google.protobuf import text_format

from core.logs import configure_logging

END_TIMEOUT_S = 10.0
logger = logging.getLogger(__name__)


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Serves requests for worker processes while a `with` block runs; ends them with it."""

    def __init__(self, host: str = "localhost", port: int = 0) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._workers: list[subprocess.Popen[bytes]] = []
        self._server: Any = grpc.server(thread_pool_executor.shared_unbounded_instance())
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
        try:
            self._port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"the worker pool cannot listen at {host}:{port}: is the port taken?") from error

    @property
    def address(self) -> str:
        """`host:port` for `--environment_config`."""
        return f"{self._host}:{self._port}"

    def __enter__(self) -> WorkerPool:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=1).wait()
        with self._lock:
            for worker in self._workers:
                _end(worker)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the service
        """Starts a worker that connects to the runner that asked."""
        environment = {
            **os.environ,
            "WORKER_ID": request.worker_id,
            "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(request.control_endpoint.url),
            "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(request.logging_endpoint.url),
        }
        try:
            worker = subprocess.Popen(
                [sys.executable, "-m", "beam_pipeline.runners.worker"], env=environment, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=str(error))
        with self._lock:
            self._workers = [other for other in self._workers if other.poll() is None] + [worker]
        logger.info("worker %s started, process %d", request.worker_id, worker.pid)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the service
        """Waits for a worker to end, which it does when its connection closes.

        Nothing is ended by its id here: two TaskManagers give their workers equal ids, and the wrong one would die.
        """
        return beam_fn_api_pb2.StopWorkerResponse()


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    configure_logging()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=50000)
    parser.add_argument(
        "--host",
        default="localhost",
        help="address to listen at. Whoever reaches it can start workers: keep it on loopback or a private network",
    )
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with WorkerPool(options.host, options.port) as pool:
        logger.info("worker pool at %s", pool.address)
        stopped.wait()


if __name__ == "__main__":
    main()
