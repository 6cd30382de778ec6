"""A model's server on 127.0.0.1: it speaks OpenAI's chat completions, and misbehaves as a test tells it."""

import json
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

STALL_SECONDS = 20.0


@dataclass(frozen=True)
class Request:
    """What the model was asked."""

    path: str
    authorization: str | None
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return [message["content"] for message in self.body["messages"]]


class ModelServer(ThreadingHTTPServer):
    """Does what ``then`` says, one step a request, the last step again and again; without it, it says "ok"."""

    daemon_threads = False  # closing waits for them, so that a test leaves none behind

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"
        self.requests: list[Request] = []
        self.asked = threading.Event()
        self.released = threading.Event()
        self._steps: deque[Step] = deque([says("ok")])
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def then(self, *steps: "Step") -> None:
        self._steps = deque(steps)

    def take(self, request: Request) -> "Step":
        with self._lock:
            self.requests.append(request)
            self.asked.set()
            return self._steps.popleft() if len(self._steps) > 1 else self._steps[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        with suppress(ConnectionError):  # the client gave up, as it should
            if body := self.rfile.read(int(self.headers["Content-Length"])):
                self.server.take(Request(self.path, self.headers["Authorization"], json.loads(body)))(self)

    def send(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        self.start(status, content_type, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def start(self, status: int, content_type: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""


Step = Callable[[_Handler], None]


def says(content: Any, finish_reason: str = "stop") -> Step:
    """Answer with ``content``."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    completion = {"id": "x", "object": "chat.completion", "created": 0, "model": "test", "choices": [choice]}
    return sends(json.dumps(completion).encode())


def sends(body: bytes, content_type: str = "application/json") -> Step:
    """Answer 200 with ``body`` as it is."""
    return lambda handler: handler.send(200, body, content_type)


def fails(status: int, code: str | None = None, message: str = "no", **headers: str) -> Step:
    """Answer with OpenAI's error."""
    error = {"message": message, "type": "test", "param": None, "code": code}
    return lambda handler: handler.send(status, json.dumps({"error": error}).encode(), **headers)


def hangs_up(handler: _Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def stalls(handler: _Handler) -> None:
    """Say nothing at all."""
    handler.server.released.wait(STALL_SECONDS)
    handler.close_connection = True


def stalls_midway(handler: _Handler) -> None:
    """Begin an answer and leave it at that."""
    handler.start(200, Content_Length="1000")
    handler.wfile.write(b'{"id":')
    stalls(handler)


def sends_empty_lines(handler: _Handler) -> None:
    """Send an empty line every 50 ms and never an answer, as a busy server does."""
    handler.start(200, Transfer_Encoding="chunked")
    for _ in range(int(STALL_SECONDS / 0.05)):
        handler.wfile.write(b"1\r\n\n\r\n")
        if handler.server.released.wait(0.05):
            break
    handler.close_connection = True


def sends_headers_slowly(handler: _Handler) -> None:
    """Send another header every 50 ms and never the last."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(int(STALL_SECONDS / 0.05)):
        handler.wfile.write(b"X-%d: x\r\n" % number)
        if handler.server.released.wait(0.05):
            break
    handler.close_connection = True
