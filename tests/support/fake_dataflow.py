"""A loopback double of Dataflow's REST service that runs the staged pipeline here.

What it cannot show: quotas, machines, drivers, the boot of the container, autoscaling, the service's own shuffle.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability import fn_api_runner


class FakeDataflow:
    """What was sent, and how the run of it went."""

    def __init__(self) -> None:
        self.url = ""
        self.job: dict[str, Any] = {}
        self.pipeline = beam_runner_api_pb2.Pipeline()
        self._state = "JOB_STATE_RUNNING"

    def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Takes a job and starts it."""
        self.job = job
        threading.Thread(target=self._run, daemon=True).start()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The job as the service describes it."""
        return {
            "id": "job-1",
            "projectId": "test",
            "location": "nowhere1",
            "name": self.job.get("name", ""),
            "type": "JOB_TYPE_BATCH",
            "currentState": self._state,
        }

    def _run(self) -> None:
        try:
            options = self.job["environment"]["sdkPipelineOptions"]["options"]
            url = options.get("pipelineUrl") or self.job["environment"]["sdkPipelineOptions"]["pipelineUrl"]
            with FileSystems.open(url) as staged:
                self.pipeline.ParseFromString(staged.read())
            local = beam_runner_api_pb2.Pipeline()
            local.CopyFrom(self.pipeline)
            for environment in local.components.environments.values():
                environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
                del environment.dependencies[:]
                environment.resource_hints.clear()
            fn_api_runner.FnApiRunner().run_via_runner_api(local, PipelineOptions([])).wait_until_finish()
            self._state = "JOB_STATE_DONE"
        except BaseException:
            self._state = "JOB_STATE_FAILED"
            raise


@contextmanager
def serve() -> Iterator[FakeDataflow]:
    """The service while the block runs; its address is in `url`."""
    fake = FakeDataflow()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(fake.submit(json.loads(body)))

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if re.search(r"/jobs/[^/]+/messages$", path):
                self._send({"jobMessages": []})
            elif re.search(r"/jobs/[^/]+/metrics$", path):
                self._send({"metrics": []})
            else:
                self._send(fake.answer())

        def _send(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
