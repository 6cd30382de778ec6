"""What somebody can do who may write to uWSGI's socket, as nginx may."""

import socket
from pathlib import Path

import pytest

from app.sandbox.messages import text_message
from tests.security.conftest import OPENID, PATH, Site
from tests.security.raw import ask_on_socket, packet, received, request
from tests.servers import START_SECONDS, environment, free_port, uwsgi

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
    path = site.folder / "uwsgi.sock"
    assert b" 403 " in ask_on_socket(path, REQUEST).partition(b"\r\n")[0]
    assert b" 200 " in ask_on_socket(path, REQUEST | {"IS_NEAR": "1"}).partition(b"\r\n")[0]
    unsigned = REQUEST | {"PATH_INFO": PATH, "IS_NEAR": "1", "RECEIVED_AT": "0"}
    assert b" 403 " in ask_on_socket(path, unsigned).partition(b"\r\n")[0]


def test_who_writes_to_the_socket_reads_the_cache_of_uwsgi(site: Site) -> None:
    with site.phone() as fan:
        message = text_message(OPENID, "quick kept")
        assert fan.deliver(message).shown == "quick kept"
    message_id = message.partition("<MsgId>")[2].partition("</MsgId>")[0].removeprefix("<![CDATA[").removesuffix("]]>")
    kept = ask_on_socket(site.folder / "uwsgi.sock", f":message:{OPENID}:{message_id}:answer".encode(), _READ_CACHE)
    assert b"quick kept" in kept, kept


def test_a_socket_that_takes_uwsgis_protocol_from_other_machines_is_no_start(tmp_path: Path) -> None:
    address = f"0.0.0.0:{free_port()}"
    with uwsgi(tmp_path, environment(), socket_path=Path(address), loaded=False) as server:
        server.process.wait(START_SECONDS)
        assert f"uWSGI takes its own protocol at {address}" in server.output()
        assert server.process.returncode


def test_who_comes_by_http_from_another_address_tells_uwsgi_no_variables(tmp_path: Path) -> None:
    port = free_port()
    every = {"processes = 2": "processes = 2\nhttp-socket = 0.0.0.0:" + str(port)}
    believed = {**REQUEST, "IS_NEAR": "1", "REMOTE_ADDR": "127.0.0.1"}
    headers = ["IS-NEAR: 1", "IS_NEAR: 1", "REMOTE_ADDR: 127.0.0.1", "UWSGI_FILE: /tmp/x.py", "SCRIPT_NAME: /x"]
    proxied = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + request("/metrics", host="localhost")
    asked = [request("/metrics", *headers, host="localhost"), packet(believed) + b"\r\n\r\n", proxied]
    with uwsgi(tmp_path, environment(), port=free_port(), replacements=every):
        for one in asked:
            with socket.create_connection(("127.0.0.1", port), 10, source_address=("127.0.0.2", 0)) as connection:
                connection.sendall(one)
                said = received(connection)
            assert b"wechat_messages" not in said
            assert b" 200 " not in said.partition(b"\r\n")[0]
        with socket.create_connection(("127.0.0.1", port), 10) as connection:  # this machine itself
            connection.sendall(request("/metrics", host="localhost"))
            assert b"wechat_ready" in received(connection)
