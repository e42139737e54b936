"""A chat endpoint on this machine that answers from a script and records requests."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Reply", "StubEndpoint", "completion", "serve"]

Reply = tuple[int, dict[str, str], bytes]


def completion(text: str) -> Reply:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return 200, {}, json.dumps(body).encode()


class StubEndpoint:
    """``script`` is used up first; then every request gets ``otherwise``."""

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.otherwise: Reply = completion("There is no edema.")
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""
        self.lock = threading.Lock()

    def reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        with self.lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.requests.append(json.loads(body))
            return self.script.popleft() if self.script else self.otherwise


@contextmanager
def serve() -> Iterator[StubEndpoint]:
    stub = StubEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status, headers, body = stub.reply(
                self.path, dict(self.headers), self.rfile.read(length)
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
