"""What somebody can do who may write to uWSGI's socket, as nginx may."""

from pathlib import Path

import pytest

from app.sandbox.messages import text_message
from tests.security.conftest import OPENID, PATH, Site
from tests.security.raw import ask_on_socket

REQUEST = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/metrics",
    "QUERY_STRING": "",
    "REQUEST_URI": "/metrics",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "x",
    "SERVER_PORT": "80",
    "REMOTE_ADDR": "203.0.113.7",
}
_READ_CACHE = (111, 0)
EVIL = """
import os
os.mkdir({made!r})
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"evil"]
"""


@pytest.mark.parametrize("name", ["UWSGI_FILE", "UWSGI_SCRIPT", "UWSGI_MODULE"])
def test_who_writes_to_the_socket_has_no_code_of_theirs_loaded(site: Site, tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.py").write_text(EVIL.format(made=str(tmp_path / "made")))
    file = str(tmp_path / "evil.py") if name == "UWSGI_FILE" else "evil"
    told = {"SCRIPT_NAME": f"/{name}", name: file, "UWSGI_CHDIR": str(tmp_path), "UWSGI_PYPATH": str(tmp_path)}
    for _ in range(20):  # each worker has its turn
        assert b"evil" not in ask_on_socket(site.folder / "uwsgi.sock", REQUEST | told).partition(b"\r\n\r\n")[2]
    assert not (tmp_path / "made").exists()


def test_who_writes_to_the_socket_is_believed_to_be_nginx(site: Site) -> None:
    socket = site.folder / "uwsgi.sock"
    assert b" 403 " in ask_on_socket(socket, REQUEST).partition(b"\r\n")[0]
    assert b" 200 " in ask_on_socket(socket, REQUEST | {"IS_NEAR": "1"}).partition(b"\r\n")[0]
    unsigned = REQUEST | {"PATH_INFO": PATH, "IS_NEAR": "1", "RECEIVED_AT": "0"}
    assert b" 403 " in ask_on_socket(socket, unsigned).partition(b"\r\n")[0]


def test_who_writes_to_the_socket_reads_the_cache_of_uwsgi(site: Site) -> None:
    with site.phone() as fan:
        message = text_message(OPENID, "quick kept")
        assert fan.deliver(message).shown == "quick kept"
    message_id = message.partition("<MsgId>")[2].partition("</MsgId>")[0].removeprefix("<![CDATA[").removesuffix("]]>")
    kept = ask_on_socket(site.folder / "uwsgi.sock", f":message:{OPENID}:{message_id}:answer".encode(), _READ_CACHE)
    assert b"quick kept" in kept, kept
