"""runserver.py under other servers than uWSGI."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.actors import OPENID, Account
from tests.servers import ROOT, TOKEN, Server, environment, free_port, listens, program, wait_for


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def validated(account: "type[Account]") -> Iterator[int]:
    """The application behind wsgiref's validator, which raises for whatever is against PEP 3333."""
    opened = account({"text": lambda message: message.content})  # type: ignore[call-arg, arg-type]
    with make_server("127.0.0.1", 0, validator(opened.app), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_application_is_valid_wsgi(validated: int) -> None:
    with Phone(f"http://127.0.0.1:{validated}/wechat", TOKEN, OPENID) as phone:
        assert phone.deliver(text_message(OPENID, "你好")).shown == "你好"
    for method, expected in (("GET", 403), ("POST", 403), ("DELETE", 405), ("HEAD", 405)):
        connection = HTTPConnection("127.0.0.1", validated)
        connection.request(method, "/wechat", body=b"<xml/>" if method == "POST" else None)
        assert connection.getresponse().status == expected
        connection.close()


@pytest.mark.parametrize("server", ["waitress", "development"])
def test_another_server_answers_too(server: str, tmp_path: Path) -> None:
    port = free_port()
    command = {
        "waitress": [program("waitress-serve"), f"--listen=127.0.0.1:{port}", "runserver:application"],
        "development": [program("python"), str(ROOT / "runserver.py")],
    }[server]
    running = Server(command, tmp_path, environment(PORT=str(port)))
    try:
        running.wait_until(lambda: listens(port))
        with Phone(f"http://127.0.0.1:{port}/wechat", TOKEN, OPENID) as phone:
            assert phone.deliver(text_message(OPENID, "天气 北京"))[:3] == ("北京：晴，25 度", True, 1)
        wait_for(lambda: "handler=weather" in running.output())
    finally:
        running.stop()
    assert "signature=" not in running.output()
    assert TOKEN not in running.output()


def test_the_development_server_says_where_it_is(tmp_path: Path) -> None:
    port = free_port()
    running = Server([program("python"), str(ROOT / "runserver.py")], tmp_path, environment(PORT=str(port)))
    try:
        running.wait_until(lambda: f"http://127.0.0.1:{port}/wechat" in running.output())
    finally:
        running.stop()
    assert running.process.returncode is not None


def test_a_chunked_body_is_read(tmp_path: Path) -> None:
    port = free_port()
    command = [program("waitress-serve"), f"--listen=127.0.0.1:{port}", "runserver:application"]
    running = Server(command, tmp_path, environment())
    try:
        running.wait_until(lambda: listens(port))
        with Phone("", TOKEN, OPENID) as phone:
            query, body = phone.envelope(text_message(OPENID, "天气 北京"))
        connection = HTTPConnection("127.0.0.1", port)
        path = "/wechat?" + "&".join(f"{name}={value}" for name, value in query.items())
        connection.request("POST", path, body=iter([body[:50], body[50:]]), encode_chunked=True)
        assert "北京" in connection.getresponse().read().decode()
        connection.close()
    finally:
        running.stop()


def test_wrong_settings_stop_the_development_server_with_their_names() -> None:
    done = subprocess.run(
        [sys.executable, "runserver.py"],
        cwd=ROOT,
        env=environment(WECHAT_TOKEN="", WECHAT_PATH="x", WECHAT_HANDLERS="app.handlers"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "WECHAT_PATH is malformed" in done.stderr
    assert "Traceback" not in done.stderr
