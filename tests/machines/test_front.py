"""What the nginx in front repeats on another machine, and what a machine behind it says and believes."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import nginx_config
from tests.machines.farm import add_behind, front_config
from tests.servers import Server, environment, free_port, listens, program

MESSAGES = 60


class Machine(ThreadingHTTPServer):
    """Answers each POST, or hangs up on it; ``came`` is all that came, ``asked_by`` who the front says it was."""

    daemon_threads = True

    def __init__(self, *, hangs_up: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hangs_up = hangs_up
        self.came: list[str] = []
        self.asked_by: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: Machine

    def do_POST(self) -> None:
        self.server.came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked_by.add(self.headers["X-Forwarded-For"])
        if not self.server.hangs_up:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that starts a machine, or nginx with a configuration that listens on a port."""
    with ExitStack() as stack:

        def machine(*, hangs_up: bool) -> Machine:
            server = stack.enter_context(Machine(hangs_up=hangs_up))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        def nginx(conf: Path, port: int) -> None:
            server = Server([program("nginx"), "-p", str(tmp_path), "-c", str(conf)], tmp_path, environment())
            stack.callback(server.stop)
            server.wait_until(lambda: listens(port))

        yield lambda *args, **kwargs: nginx(*args) if args else machine(**kwargs)


def post(port: int, path: str, body: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {"X-Forwarded-For": "192.0.2.1"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_what_was_sent_is_never_sent_again_and_what_could_not_be_sent_goes_to_another_machine(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    answers, hangs_up, refuses, port = start(hangs_up=False), start(hangs_up=True), free_port(), free_port()
    addresses = [f"127.0.0.1:{number}" for number in (answers.server_port, hangs_up.server_port, refuses)]
    start(front_config(tmp_path, addresses, port), port)
    statuses = {str(number): post(port, "/wechat/shop", str(number)) for number in range(MESSAGES)}
    assert sorted([*answers.came, *hangs_up.came], key=int) == list(statuses)
    assert [number for number, status in statuses.items() if status != 200] == hangs_up.came
    assert 1 <= len(hangs_up.came) < MESSAGES // 4  # who hangs up on three is left out for a while
    assert answers.asked_by == {"127.0.0.1"}


def test_a_machine_without_uwsgi_hangs_up_and_takes_nobody_whom_another_sends_for_an_operator(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    port = free_port()
    conf = nginx_config(tmp_path, port)
    add_behind(tmp_path, "127.0.0.1")
    start(conf, port)
    with pytest.raises(RemoteDisconnected):
        post(port, "/wechat", "")
    for sent_for in ("127.0.0.1", "192.0.2.1"):
        request = f"GET /healthz HTTP/1.0\r\nX-Forwarded-For: {sent_for}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 404")
