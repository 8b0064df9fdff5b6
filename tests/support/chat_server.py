"""A loopback server with OpenAI's chat API and scripted answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCENE = {"camera_motion": "The camera glides ahead.", "scene_description": "A pier at low tide under thin cloud."}
REFINED = {
    "camera_motion": "The camera glides forward along the planks, then rests.",
    "scene_summary": "A weathered pier reaches into a quiet bay.",
    "motion_trends": ["forward translate", "static viewpoint"],
    "keywords": ["pier", "bay"],
    "shot_immersion": "Planks slide beneath us as the bay opens.",
}
TAGS = {
    "scene_type": "Waterfront",
    "scene_subtype": "fishing pier",
    "brightness": "Bright",
    "time_of_day": "Dawn/Morning",
    "weather": "Frosty",
    "crowd_density": "Sparse",
}
ANSWERS = {"SceneAnswer": SCENE, "RefinedAnswer": REFINED, "TagAnswer": TAGS}


@dataclass(frozen=True)
class Reply:
    """One reply of the server; `drop` breaks the connection."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    drip_s: float = 0.0


@dataclass
class Seen:
    """A request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


def completion(
    text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (1000, 100), **message: Any
) -> Reply:
    """A chat completion."""
    value: dict[str, Any] = {
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}]
    }
    if usage:
        value["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Reply(json.dumps(value).encode())


def good(request: dict[str, Any]) -> Reply:
    """A valid answer to a request, whichever step it is of."""
    schema = request.get("response_format", {}).get("json_schema")
    if schema:
        return completion(json.dumps(ANSWERS[schema["name"]]))
    text = json.dumps(request["messages"])
    found = next(a for a in ANSWERS.values() if all(f'\\"{key}\\"' in text for key in a))
    return completion(json.dumps(found))


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI's API gives it."""
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""


class ChatServer:
    """The server. `script` replies come first, one a request; then `default` answers."""

    def __init__(self, default: Callable[[dict[str, Any]], Reply] = good) -> None:
        self.seen: list[Seen] = []
        self.script: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        self.default = default
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with outer._lock:
                    outer.seen.append(Seen(self.path, headers, body, time.monotonic()))
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                    planned = outer.script.pop(0) if outer.script else outer.default
                try:
                    self._send(planned if isinstance(planned, Reply) else planned(body))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with outer._lock:
                        outer._at_once -= 1

            def _send(self, reply: Reply) -> None:
                time.sleep(reply.delay_s)
                if reply.drop:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                if "content-length" not in reply.headers:
                    self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                step = 1 if reply.drip_s else max(1, len(reply.body))
                for start in range(0, len(reply.body), step):
                    self.wfile.write(reply.body[start : start + step])
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
                if reply.headers.get("content-length"):
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def chat_server(default: Callable[[dict[str, Any]], Reply] = good) -> Iterator[ChatServer]:
    """Runs a server for a `with` block."""
    server = ChatServer(default)
    thread = threading.Thread(target=server._server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._server.shutdown()
        server._server.server_close()
