"""The doctor at the callback's door: the service itself, and everything that may answer in its place."""

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from app.doctor.finding import Finding
from app.doctor.reach import check_clock, check_reach
from tests.actors import Account
from tests.cache_servers import certificate
from tests.doctor.conftest import Look, said
from tests.servers import ROOT, TOKEN, Server, free_port, listens, program
from tests.wechat_server import serve_app

LOCAL = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": "http://127.0.0.1:1"}
Answer = Callable[[Request], Response]


@pytest.fixture
def ask(look: Look) -> Callable[..., list[Finding]]:
    """Return a function that asks whatever answers as ``answer`` does."""

    def asked(answer: Answer) -> list[Finding]:
        def app(environ: Any, start_response: Any) -> Any:
            return answer(Request(environ))(environ, start_response)

        with serve_app(lambda: app) as port:
            return look(check_reach, f"http://127.0.0.1:{port}/wechat", **LOCAL)

    return asked


@pytest.fixture
def port_of(account: Callable[..., Account]) -> Iterator[int]:
    one = account({"*": _must_not_run})
    with serve_app(lambda: one.app) as port:
        yield port


def _must_not_run(message: Any) -> None:
    raise AssertionError("a handler ran")


def echo(request: Request) -> Response:
    """Answer as a service does that checks no signature, and knows no other page."""
    return Response(request.args.get("echostr", "success"), 200 if request.path == "/wechat" else 404)


def test_the_service_answers_what_is_signed_and_refuses_what_is_not(look: Look, port_of: int) -> None:
    findings = look(check_reach, f"http://127.0.0.1:{port_of}/wechat", **LOCAL)
    assert [(finding.name, finding.status) for finding in findings] == [
        ("signed request", "ok"),
        ("unsigned request", "ok"),
        ("inner pages", "ok"),
    ]


def test_a_service_with_another_token_is_wrong(look: Look, port_of: int) -> None:
    url = f"http://127.0.0.1:{port_of}/wechat"
    [(status, text)] = said(look(check_reach, url, **LOCAL, WECHAT_TOKEN="somebodyElses1"), "signed request")
    assert status == "wrong"
    assert "another WECHAT_TOKEN, or another clock" in text
    assert "somebodyElses1" not in text


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            Response("", 301, {"Location": "https://wx.example.com/wechat?signature=abc"}),
            "https://wx.example.com/wechat",
        ),
        (Response("<html></html>", content_type="text/html"), "a page of HTML"),
        (Response("hello", content_type="text/plain"), "something else than the echostr"),
        (Response("<html>403 Forbidden</html>", 403, content_type="text/html"), "nginx or something before it"),
        (Response("", 404), "no location for this path"),
        (Response("", 502), "no uWSGI"),
        (Response("", 504), "did not answer in time"),
        (Response("", 418), "status 418"),
    ],
    ids=lambda value: str(getattr(value, "status_code", "")),
)
def test_whatever_answers_in_its_place_is_named(
    response: Response, says: str, ask: Callable[[Answer], list[Finding]]
) -> None:
    [finding] = ask(lambda request: response)
    assert (finding.name, finding.status) == ("signed request", "wrong")
    assert says in finding.found
    assert finding.todo
    assert "signature" not in finding.found


def test_a_service_that_takes_anything_is_wrong(ask: Callable[[Answer], list[Finding]]) -> None:
    [(status, text)] = said(ask(echo), "unsigned request")
    assert status == "wrong"
    assert "status 200 instead of 403" in text


def test_pages_for_the_operator_that_others_see_are_wrong(ask: Callable[[Answer], list[Finding]]) -> None:
    def open_to_all(request: Request) -> Response:
        return Response("wechat_messages_total 1") if request.path == "/metrics" else echo(request)

    [(status, text)] = said(ask(open_to_all), "inner pages")
    assert status == "wrong"
    assert "/metrics" in text


def test_pages_that_only_the_machine_itself_sees_are_asked_for_as_others(
    ask: Callable[[Answer], list[Finding]],
) -> None:
    def near(request: Request) -> Response:
        is_passed_on = "X-Forwarded-For" in request.headers
        return Response("") if request.path == "/metrics" and not is_passed_on else echo(request)

    assert said(ask(near), "inner pages")[0][0] == "ok"


def test_a_proxy_that_makes_strangers_look_like_this_machine_is_wrong(
    look: Look, port_of: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    said_of = {}
    for header in ("", "proxy_set_header X-Forwarded-For $remote_addr;", "proxy_set_header Host $host;"):
        with proxy(tmp_path, port_of, header) as port:
            said_of[header] = said(look(check_reach, f"http://wx.example.com:{port}/wechat", **LOCAL), "inner pages")
            by_itself = said(look(check_reach, f"http://127.0.0.1:{port}/wechat", **LOCAL), "inner pages")
            assert [status for status, _ in by_itself] == ["ok"]
    [(status, text)] = said_of.pop("")
    assert (status, "/metrics" in text, "X-Forwarded-For $remote_addr;" in text) == ("wrong", True, True)
    assert [status for found in said_of.values() for status, _ in found] == ["ok", "ok"]


@contextmanager
def proxy(folder: Path, to: int, header: str) -> Iterator[int]:
    """Run an nginx with a location as it stands in most tutorials, and yield its port."""
    port = free_port()
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    location = f"location / {{ {header} proxy_pass http://127.0.0.1:{to}; }}"
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; daemon off; error_log stderr; {'user root;' if os.geteuid() == 0 else ''} events {{}}"
        f"http {{ access_log off; client_body_temp_path {folder}/body; {places}"
        f"server {{ listen 127.0.0.1:{port}; {location} }} }}"
    )
    nginx = Server([program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, os.environ)
    try:
        nginx.wait_until(lambda: listens(port))
        yield port
    finally:
        nginx.stop()


def test_too_many_at_once_are_looked_for_in_the_log_that_has_them(ask: Callable[[Answer], list[Finding]]) -> None:
    [finding] = ask(lambda request: Response("", 503))
    shipped = (ROOT / "nginx" / "wechat.conf").read_text()
    assert [log for log in re.findall(r"access_log (\S+)", shipped) if log in finding.todo]


def test_a_site_that_answers_any_path_cannot_be_judged(ask: Callable[[Answer], list[Finding]]) -> None:
    def anything(request: Request) -> Response:
        return Response(request.args.get("echostr", "welcome"))

    assert said(ask(anything), "inner pages")[0][0] == "warning"


def test_what_cannot_be_reached_says_why(look: Look, tmp_path: Path) -> None:
    [refused] = look(check_reach, f"http://127.0.0.1:{free_port()}/wechat", **LOCAL)
    assert "cannot be reached (ConnectionError)" in refused.found
    [unknown] = look(check_reach, "http://no-such-host.invalid/wechat", **LOCAL)
    assert "no such name" in unknown.found
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    with server_with_clock(0, context) as port:
        [untrusted] = look(check_reach, f"https://127.0.0.1:{port}/wechat", **LOCAL)
    assert "its certificate is not one" in untrusted.found
    assert {one.status for one in (refused, unknown, untrusted)} == {"wrong"}


def test_an_address_that_wechat_cannot_call_is_told(look: Look) -> None:
    findings = look(check_reach, f"http://127.0.0.1:{free_port()}/wechat")
    assert [finding.status for finding in findings if finding.name == "address"] == ["wrong", "warning"]
    assert [(finding.name, finding.status) for finding in look(check_reach, "")] == [("reach", "warning")]


def test_a_password_in_the_address_is_not_shown(look: Look, port_of: int) -> None:
    for path in ("wechat", "elsewhere"):
        findings = look(check_reach, f"http://me:s3cretPass@127.0.0.1:{port_of}/{path}", **LOCAL)
        assert f"http://127.0.0.1:{port_of}/{path}" in findings[0].found
        assert "s3cretPass" not in str(findings)
        assert TOKEN not in str(findings)


@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [
        (0, "ok", "right to 2 s"),
        (-10, "warning", "10 s ahead of"),
        (10, "warning", "s behind"),
        (200, "wrong", "300 s"),
    ],
)
def test_a_clock_that_is_wrong_is_told(ahead: int, status: str, says: str, look: Look) -> None:
    with server_with_clock(ahead) as port:
        [finding] = look(check_clock, "", WECHAT_API_BASE_URL=f"http://127.0.0.1:{port}")
    assert finding.status == status
    assert says in finding.found


@contextmanager
def server_with_clock(ahead_seconds: int, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server that answers 501 and whose clock is so far ahead; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead_seconds, usegmt=True)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up on the certificate
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
