"""Pages for this machine's operator are for nobody else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.near import is_near, is_this_machine
from app.sandbox.api import STATE_FILE
from app.sandbox.wechat import WeChat
from tests.actors import Account

HERE = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:8111"}


@pytest.mark.parametrize("host", ["127.0.0.1:8111", "localhost", "LOCALHOST:80", "[::1]:8111", "[::1]"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", ""])
def test_who_asks_this_machine_from_this_machine_is_near(address: str, host: str) -> None:
    assert is_near({"REMOTE_ADDR": address, "HTTP_HOST": host})


@pytest.mark.parametrize(
    "said",
    [
        {"REMOTE_ADDR": "10.0.0.5"},
        {"REMOTE_ADDR": "127.0.0.2"},
        {"HTTP_HOST": "abcd.ngrok.app"},
        {"HTTP_HOST": "127.0.0.1.example.com:8111"},
        {"HTTP_HOST": "localhost.example.com"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_IS_NEAR": "1", "REMOTE_ADDR": "10.0.0.5"},
    ],
)
def test_what_comes_from_elsewhere_or_was_passed_on_is_not(said: dict[str, str]) -> None:
    assert not is_near(HERE | said)


def test_nginx_may_let_somebody_in() -> None:
    assert is_near({"REMOTE_ADDR": "10.0.0.5", "HTTP_HOST": "wx.example.com", "IS_NEAR": "1"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_these_hosts_are_this_machine_for_itself(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["10.0.0.5", "localhost.example.com", "127.0.0.1.nip.io", ""])
def test_these_are_not(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize("path", ["/metrics", "/sandbox/api/cgi-bin/menu/get"])
def test_figures_and_sandbox_are_for_the_machine_itself(account: Callable[..., Account], path: str) -> None:
    client = account({"*": print}, WECHAT_SANDBOX="1").client
    assert client.get(path).status_code == 200
    assert client.get(path, environ_base={"REMOTE_ADDR": "10.0.0.5"}).status_code == 403
    assert client.get(path, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    assert client.get(path, headers={"Host": "tunnel.example.com"}).status_code == 403


SANDBOX = "http://localhost/sandbox/api"
OTHERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8000"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},  # a picture's address, or a link
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_site_calls_nothing_of_the_sandbox_and_uses_up_no_fault(
    method: str,
    headers: dict[str, str],
    account: Callable[..., Account],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    client = account({"*": print}, WECHAT_SANDBOX="1").client
    WeChat("", "", STATE_FILE).fail("*", errcode=45009, times=1)
    assert client.open(f"{SANDBOX}/cgi-bin/menu/get", method=method, headers=headers).status_code == 403
    said = client.open(f"{SANDBOX}/cgi-bin/menu/get", method=method).get_json()
    assert said["errcode"] == 45009
    assert client.post("/sandbox/fans", headers=headers).status_code == 403  # as its pages do


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
def test_its_own_pages_and_who_types_the_address_may(headers: dict[str, str], account: Callable[..., Account]) -> None:
    client = account({"*": print}, WECHAT_SANDBOX="1").client
    assert client.get(f"{SANDBOX}/cgi-bin/menu/get", headers=headers).status_code == 200


def test_to_wechats_page_of_the_sandbox_other_sites_lead(account: Callable[..., Account]) -> None:
    client = account({"*": print}, WECHAT_SANDBOX="1").client
    page = f"{SANDBOX}/connect/oauth2/authorize"
    assert client.get(page, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400  # for its missing parts
    assert client.post(page, headers={"Origin": "https://evil.example"}).status_code == 403
