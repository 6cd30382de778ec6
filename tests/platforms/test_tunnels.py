"""The tunnels of docs/tunnels.md: ssh -R for real, and what the other tools' files say."""

import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.platforms.pages import block
from tests.platforms.server import PAGE, Remote, remote
from tests.servers import ROOT, TOKEN, Server, environment, free_port, listens, program, wait_for
from tests.wechat_server import APPSECRET, WeChatServer, wechat_server

OPENID = "oFanOfALaptop00000000000000"
WEATHER = "北京：晴，25 度"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tunnels")


@pytest.fixture(scope="module")
def wechat(folder: Path) -> Iterator[WeChatServer]:
    with wechat_server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def server(folder: Path, wechat: WeChatServer) -> Iterator[Remote]:
    with remote(folder, wechat.url) as running:
        yield running


@pytest.fixture(scope="module")
def laptop(folder: Path) -> Iterator[int]:
    """The port of a service that also plays WeChat, as make run does without an account."""
    port = free_port()
    env = environment(PORT=str(port), WECHAT_SANDBOX="1")
    service = Server([program("python"), str(ROOT / "runserver.py")], folder, env)
    try:
        service.wait_until(lambda: listens(port))
        yield port
    finally:
        service.stop()


@contextmanager
def opened(server: Remote, laptop: int, *more: str) -> Iterator[Server]:
    """Run the page's command, with the words ``more`` added."""
    ssh = Server([*server.tunnel(laptop), *more], server.folder, environment())
    try:
        ssh.wait_until(lambda: listens(server.mapped_port))
        yield ssh
    finally:
        ssh.stop()
        wait_for(lambda: not listens(server.mapped_port), what="the end of the tunnel")


def shown(server: Remote) -> str:
    with Phone(server.url, TOKEN, OPENID) as phone:
        return phone.deliver(text_message(OPENID, "天气 北京")).shown


def status(port: int, path: str, host: str = "127.0.0.1") -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_message_comes_through_the_tunnel(server: Remote, laptop: int) -> None:
    with opened(server, laptop):
        assert shown(server) == WEATHER


@pytest.mark.parametrize("host", ["127.0.0.1", "wx.example.com"])
def test_nothing_but_the_callback_comes_through_the_tunnel(server: Remote, laptop: int, host: str) -> None:
    # It is there on the laptop: 200 or 40-something of WeChat's own, but no 404.
    assert status(laptop, "/sandbox/api/cgi-bin/token") == 200
    mapped = f"/wechat{server.mapped_port}"
    with opened(server, laptop):
        assert status(server.http_port, mapped, host) == 403  # the callback, to one without a signature
        pages = ["/sandbox/api/cgi-bin/token", "/metrics", "/healthz", "/console/", "/oauth/login"]
        ways = [
            "",
            mapped,
            f"{mapped}/..",
            f"{mapped}/%2e%2e",
            f"{mapped}%2f..",
            f"/x/..{mapped}/..",
            f"{mapped}%3f/..",
        ]
        paths = [way + page for way in ways for page in pages] + [f"{mapped}/", f"/{mapped}/", "/wechat", "/"]
        answers = {path: status(server.http_port, path, host) for path in paths}
    assert {path: answer for path, answer in answers.items() if answer != 404} == {}


def test_a_tunnel_that_breaks_is_a_502_at_once_and_can_be_opened_again(server: Remote, laptop: int) -> None:
    path = f"/wechat{server.mapped_port}"
    with opened(server, laptop) as ssh:
        assert status(server.http_port, path) == 403
        ssh.process.kill()
        wait_for(lambda: status(server.http_port, path) == 502, what="nginx's answer")
    with opened(server, laptop):
        assert shown(server) == WEATHER


def test_a_service_that_is_down_is_a_502_at_once(server: Remote) -> None:
    with opened(server, free_port()):
        assert status(server.http_port, f"/wechat{server.mapped_port}") == 502


def test_a_second_tunnel_to_the_same_port_ends_by_itself(server: Remote, laptop: int) -> None:
    with opened(server, laptop):

        def refused() -> "subprocess.CompletedProcess[str] | None":
            # sshd drops connections at random while others are only coming in (MaxStartups).
            done = subprocess.run(server.tunnel(laptop), timeout=20, capture_output=True, text=True)
            return None if "Connection reset" in done.stderr else done

        second = wait_for(refused)
        assert "remote port forwarding failed" in second.stderr
        assert second.returncode != 0
        assert shown(server) == WEATHER


def test_the_tunnels_account_can_do_nothing_else(server: Remote) -> None:
    other = f"127.0.0.1:{free_port()}:127.0.0.1:1"
    for words in (
        ("-N", "-o", "ExitOnForwardFailure=yes", "-R", other, server.name),
        ("-W", f"127.0.0.1:{server.http_port}", server.name),
        (server.name, "true"),
    ):
        done = subprocess.run(server.ssh(*words), stdin=subprocess.DEVNULL, timeout=20, capture_output=True)
        assert done.returncode != 0, words


def test_calls_to_wechat_take_the_servers_address(server: Remote, laptop: int, wechat: WeChatServer) -> None:
    local = free_port()
    account = {"grant_type": "client_credential", "appid": wechat.settings["WECHAT_APPID"], "secret": APPSECRET}
    with opened(server, laptop, "-L", f"127.0.0.1:{local}:127.0.0.1:{server.api_port}"):
        answer = requests.get(f"http://127.0.0.1:{local}/cgi-bin/token", params=account, timeout=5).json()
    assert answer["access_token"]
    assert wechat.calls_of("/cgi-bin/token") == [0]
    assert APPSECRET not in "".join(path.read_text() for path in server.folder.glob("*.log"))


def test_a_tunnel_without_nginx_leaves_the_second_lock_alone(server: Remote, laptop: int) -> None:
    with opened(server, laptop):
        for path in ("/metrics", "/sandbox/api/cgi-bin/token"):
            assert status(server.mapped_port, path, "wx.example.com") == 403
            assert status(server.mapped_port, path, "127.0.0.1") == 200  # who lies about the name: hence nginx


def test_frp_passes_the_callback_only() -> None:
    alone = tomllib.loads(block(PAGE, "`frpc.toml` on the laptop"))
    assert [(proxy["type"], proxy["locations"]) for proxy in alone["proxies"]] == [("http", ["/wechat"])]
    assert "hostHeaderRewrite" not in alone["proxies"][0]


def test_frp_behind_nginx_listens_for_nginx_alone() -> None:
    frps = tomllib.loads(block(PAGE, "`frps.toml` behind nginx"))
    frpc = tomllib.loads(block(PAGE, "`frpc.toml` behind nginx"))
    assert frps["proxyBindAddr"] == "127.0.0.1"
    assert [(proxy["type"], proxy["remotePort"] in range(8000, 8100)) for proxy in frpc["proxies"]] == [("tcp", True)]
