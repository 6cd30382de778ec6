"""The way out under real uWSGI and nginx: WeChat played by the service itself, commands in the shell, a browser."""

import json
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from app.sandbox.login import OPENID
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from tests.e2e.conftest import Site
from tests.servers import TOKEN, environment, free_port, program, uwsgi, wait_for

HANDLERS = """
import threading
from app.api import create_qrcode, send

def later(message):
    threading.Event().wait(5)
    return "late"

def ask(message):
    send(message.openid, "sent")
    return create_qrcode("poster").url

HANDLERS = {("text", "later"): later, "text": ask, "*": lambda message: None}
"""


class Service:
    """The service as make run starts it, in a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        sandbox = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": f"{self.url}/sandbox/api", "PORT": str(port)}
        self.env = environment(FLASK_APP="runserver:application", WECHAT_HANDLERS="ours", **sandbox)
        self.env["PYTHONPATH"] += f":{folder}"

    def flask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [program("flask"), *arguments]
        return subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "ours.py").write_text(HANDLERS)
    port = free_port()
    service = Service(tmp_path, port)
    upgraded = service.flask("db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    env = {**service.env, "WECHAT_DELIVERIES": "1"}
    with uwsgi(tmp_path, env, port=port):
        yield service


def test_a_handler_and_the_shell_share_the_account_that_the_service_plays(service: Service) -> None:
    service.flask("wechat", "say", "hi")
    service.flask("wechat", "event", "scan", "--scene", "poster")
    with Phone(f"{service.url}/wechat", TOKEN, OPENID) as fan:
        url = fan.deliver(text_message(OPENID, "hi")).shown
        assert url.startswith("http://weixin.qq.com/q/")
        assert fan.deliver(text_message(OPENID, "later"))[:2] == ("", True)
    wait_for(lambda: service.flask("wechat", "inbox").stdout.splitlines()[-1:] == ["late"], what="the late answer")
    listed = service.flask("wechat", "qrcode", "list").stdout
    assert listed == f"'poster'  permanent  {url}  scans 1  follows 0\n"
    (service.folder / "menu.json").write_text(json.dumps({"button": [{"type": "click", "name": "a", "key": "A"}]}))
    assert service.flask("wechat", "menu", "push").stdout == "pushed revision 1\n"
    # One call for two messages, and one token for both workers (the shell's is one more, the same).
    calls = service.flask("wechat", "sandbox", "calls").stdout
    assert calls.count("/cgi-bin/qrcode/create") == 1


def test_a_connection_that_wechat_cuts_is_an_error_that_says_so(service: Service) -> None:
    service.flask("wechat", "sandbox", "fail", "/cgi-bin/menu/get", "--cut")
    result = service.flask("wechat", "menu", "pull", "-")
    assert result.returncode == 1
    assert "the connection broke" in result.stderr
    assert "Traceback" not in result.stderr
    assert service.flask("wechat", "sandbox", "calls").stdout.count("/cgi-bin/menu/get") == 3


def test_a_fan_logs_in_on_the_page_that_wechat_would_show(service: Service) -> None:
    with requests.Session() as browser:
        page = browser.get(f"{service.url}/oauth/login?next=/wechat&scope=snsapi_userinfo", timeout=10)
        assert "允许" in page.text
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text)) | {"choice": "allow"}
        back = browser.post(page.url.partition("?")[0], data=form, timeout=10)
        assert urlsplit(back.url).path == "/wechat"
    assert dict(parse_qsl(urlsplit(page.url).query))["scope"] == "snsapi_userinfo"


def test_who_is_not_on_this_machine_does_not_get_to_the_sandbox(service: Service) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    path = "/sandbox/api/cgi-bin/token"
    assert requests.get(service.url + path, timeout=5).status_code == 200
    assert requests.get(service.url + path, headers=forwarded, timeout=5).status_code == 403


def status(site: Site, method: str, path: str) -> tuple[int, str | None]:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Location")
    finally:
        connection.close()


def test_nginx_lets_browsers_to_the_login_and_to_nothing_else(serve: Callable[..., Site]) -> None:
    account = {"WECHAT_APPID": f"wx{'1' * 16}", "WECHAT_APPSECRET": "0" * 32}
    site = serve(WECHAT_PUBLIC_URL="https://wx.example.com", **account)
    code, location = status(site, "GET", "/oauth/login?next=/x")
    assert (code, str(location).partition("?")[0]) == (302, "https://open.weixin.qq.com/connect/oauth2/authorize")
    assert status(site, "GET", f"/jssdk?{urlencode({'url': 'https://evil.example/'})}")[0] == 403
    assert status(site, "GET", "/oauth/callback?state=x&code=y")[0] == 302
    for method, path, expected in (
        ("POST", "/oauth/login", 403),
        ("GET", "/oauth/", 404),
        ("GET", "/oauth/loginx", 404),
        ("GET", "/sandbox/api/cgi-bin/token", 404),
        ("GET", "/jssdk/x", 404),
    ):
        assert status(site, method, path)[0] == expected, path


def test_an_old_database_is_named_and_costs_no_answer(tmp_path: Path) -> None:
    port = free_port()
    service = Service(tmp_path, port)
    (tmp_path / "ours.py").write_text('HANDLERS = {"*": lambda message: "answered"}')
    assert service.flask("db", "upgrade", "0001").returncode == 0
    with uwsgi(tmp_path, service.env, port=port) as server:
        with Phone(f"{service.url}/wechat", TOKEN, OPENID) as fan:
            assert fan.deliver(event_message(OPENID, "scan", scene="poster")).shown == "answered"
        wait_for(lambda: "flask db upgrade" in server.output())
        listed = service.flask("wechat", "qrcode", "list")
        assert (listed.returncode, "flask db upgrade" in listed.stderr) == (1, True)
        assert service.flask("db", "upgrade").returncode == 0
        wait_for(lambda: is_counted(tmp_path), what="the scan, counted after all")


def is_counted(folder: Path) -> bool:
    with sqlite3.connect(folder / "instance" / "wechat.db") as connection:
        found = connection.execute("SELECT scans FROM scene_count").fetchall()
    connection.close()
    return found == [(1,)]
