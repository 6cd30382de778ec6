"""/wechat80xx on port 80 to port 80xx of the same machine, as older setups have it."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.accounts.machine import OPENID, Machine
from tests.servers import ROOT, TOKEN, environment, listens, substituted, uwsgi


def free_port_of(ports: range) -> int:
    return next(port for port in ports if not listens(port))


def status(machine: Machine, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", machine.port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def web_server(port: int) -> Iterator[list[str]]:
    """Serve 200 for everything on ``port``, and yield what was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['X-Forwarded-For']} {self.path}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mapped(machine: Machine) -> Machine:
    substituted(ROOT / "nginx" / "ports.map", machine.site / "ports.map", {})
    machine.reload()
    return machine


def test_a_fan_reaches_what_make_run_serves_on_the_port(mapped: Machine, tmp_path: Path) -> None:
    port = free_port_of(range(8000, 8100))
    (folder := tmp_path / "older").mkdir()
    with (
        uwsgi(folder, environment(), port=port) as server,
        Phone(f"http://127.0.0.1:{mapped.port}/wechat{port}", TOKEN, OPENID) as fan,
    ):
        assert fan.deliver(text_message(OPENID, "你好"))[:3] == ("你好", True, 1)
        server.stop()
        assert "status 502" in fan.deliver(text_message(OPENID, "你好")).reason


def test_only_the_callback_of_that_port_is_reached(mapped: Machine) -> None:
    port, outside = free_port_of(range(8000, 8100)), free_port_of(range(8100, 8200))
    after = "/ /x x 0 . ;x :80 @x /../ /../console/ /%2e%2e/healthz %2Fconsole %20 %00 %0d%0aX:1 %3Fx %23"
    before = "/wechat/ / /x/wechat /Wechat /wechat0 /wechat%2F"
    others = [outside, 80, 800, 8, 22, 6379, 80000, "80", "80ab", "8%EF%BC%9022"]
    tricks = [f"/wechat{port}{rest}" for rest in after.split()]
    tricks += [f"{start}{port}" for start in before.split()] + [f"/wechat{other}" for other in others]
    with web_server(port) as asked, web_server(outside) as asked_outside:
        refused = {path: status(mapped, path) for path in tricks}
        assert set(refused.values()) <= {400, 404}, refused
        assert asked == asked_outside == []
        assert [
            status(mapped, path) for path in (f"/wechat{port}?a=%2F..&b=1", f"/x/..//wechat%38{port - 8000:03}")
        ] == [200, 200]
    # The same path, however it is written, and never another.
    assert asked == ["127.0.0.1 /wechat?a=%2F..&b=1", "127.0.0.1 /wechat"]


def test_it_is_off_without_the_map_and_one_row_can_be_one_port(machine: Machine) -> None:
    one, other = (free_port_of(ports) for ports in (range(8000, 8050), range(8050, 8100)))
    paths = [f"/wechat{port}" for port in (one, other)]
    with web_server(one), web_server(other):
        assert [status(machine, path) for path in paths] == [404, 404]
        (machine.site / "ports.map").write_text(f"/wechat{one} 127.0.0.1:{one}/wechat;\n")
        machine.reload()
        assert [status(machine, path) for path in paths] == [200, 404]
