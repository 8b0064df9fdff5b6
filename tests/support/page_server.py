"""A loopback web server with pages, range requests and broken connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PageServer:
    """Serves `files` by path: content type and bytes.

    The first `breaks` responses of a path end after half of the bytes.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.breaks: dict[str, int] = {}
        self.offsets: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, with_body: bool) -> None:
                found = outer.files.get(self.path)
                if found is None:
                    self.send_error(404)
                    return
                kind, data = found
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
                start = int(asked[1]) if asked else 0
                part = data[start : int(asked[2]) + 1] if asked and asked[2] else data[start:]
                self.send_response(206 if asked else 200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(part)))
                self.send_header("accept-ranges", "bytes")
                if asked:
                    self.send_header("content-range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
                self.end_headers()
                if not with_body:
                    return
                outer.offsets.append((self.path, start))
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                if outer.breaks.get(self.path, 0):
                    outer.breaks[self.path] -= 1
                    part = part[: len(part) // 2]
                    self.close_connection = True
                self.wfile.write(part)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that give up are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def page_server() -> Iterator[PageServer]:
    """Runs a server for a `with` block."""
    running = PageServer()
    threading.Thread(target=running.server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
