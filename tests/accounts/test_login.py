"""Fans' browsers: two accounts' pages on one host, below /wechat/ACCOUNT."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from flask import Flask

from app.sandbox.api import sandbox_api
from app.sandbox.login import OPENID
from app.sandbox.wechat import WeChat
from tests.accounts.machine import Account, Machine, appid
from tests.wechat_server import APPSECRET, serve_app

NAMES = ("shop", "club")


@pytest.fixture
def apis(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the address of WeChat's API for each account, with an AppSecret that they happen to share."""
    apps = {}
    for name in NAMES:
        apps[name] = Flask(name, static_folder=None)
        apps[name].register_blueprint(sandbox_api(WeChat(appid(name), APPSECRET, tmp_path / f"{name}.played.db")))
    with serve_app(lambda: apps["shop"]) as shop, serve_app(lambda: apps["club"]) as club:
        yield {"shop": f"http://127.0.0.1:{shop}", "club": f"http://127.0.0.1:{club}"}


@pytest.fixture
def accounts(machine: Machine, apis: dict[str, str], empty_database: bytes) -> dict[str, Account]:
    site = {"WECHAT_PUBLIC_URL": f"http://127.0.0.1:{machine.port}", "WECHAT_APPSECRET": APPSECRET}
    own = {name: {"WECHAT_API_BASE_URL": url} for name, url in apis.items()}
    started = machine.add(*NAMES, own=own, empty_database=empty_database, WECHAT_SANDBOX="1", **site)
    return dict(zip(NAMES, started, strict=True))


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def agree(browser: requests.Session, page: requests.Response) -> requests.Response:
    """Say yes on WeChat's page, and return what is seen in the end."""
    form = dict(parse_qsl(urlsplit(page.url).query)) | {"choice": "allow"}
    return browser.post(page.url.partition("?")[0], data=form)


def openids(account: Account) -> list[str]:
    with closing(sqlite3.connect(account.service.folder / "instance" / "wechat.db")) as database:
        return [openid for (openid,) in database.execute("SELECT openid FROM fan")]


def test_a_fan_logs_in_to_both_accounts_in_one_browser_and_stays_so(
    accounts: dict[str, Account], browser: requests.Session
) -> None:
    for name, account in accounts.items():
        page = f"{account.service.url}/sandbox/me"
        asked = browser.get(page)
        query = dict(parse_qsl(urlsplit(asked.url).query))
        assert (query["appid"], query["redirect_uri"]) == (appid(name), f"{account.service.url}/oauth/callback")
        seen = agree(browser, asked)
        assert (seen.url, f"openid: {OPENID}" in seen.text) == (page, True)
    for account in accounts.values():
        assert browser.get(f"{account.service.url}/sandbox/me", allow_redirects=False).status_code == 200
    assert len(browser.cookies) == 2
    assert {cookie.name for cookie in browser.cookies} == {f"wechat_{appid(name)}" for name in NAMES}


def test_one_accounts_login_is_no_login_with_the_other(accounts: dict[str, Account], browser: requests.Session) -> None:
    agree(browser, browser.get(f"{accounts['shop'].service.url}/sandbox/me"))
    kept = browser.cookies[f"wechat_{appid('shop')}"]
    browser.cookies.set(f"wechat_{appid('club')}", kept)
    asked = browser.get(f"{accounts['club'].service.url}/sandbox/me", allow_redirects=False)
    assert urlsplit(asked.headers["Location"]).path == "/wechat/club/oauth/login"
    assert (openids(accounts["shop"]), openids(accounts["club"])) == ([OPENID], [])


def test_each_account_signs_pages_for_the_js_sdk(accounts: dict[str, Account], browser: requests.Session) -> None:
    for name, account in accounts.items():
        signed = browser.get(f"{account.service.url}/jssdk", params={"url": f"{account.service.url}/page"})
        assert (signed.status_code, signed.json()["appId"]) == (200, appid(name))


def test_pages_are_for_reading_and_all_others_are_not_there(
    accounts: dict[str, Account], browser: requests.Session
) -> None:
    url = accounts["shop"].service.url
    assert [browser.post(f"{url}{page}").status_code for page in ("/oauth/login", "/jssdk")] == [403, 403]
    hidden = ("/", "/oauth", "/oauth/", "/oauth/login/", "/oauthx/login", "/nothing", "/static/x")
    assert {page: browser.get(f"{url}{page}").status_code for page in hidden} == dict.fromkeys(hidden, 404)
    assert browser.get(f"http://127.0.0.1:{urlsplit(url).port}/oauth/login").status_code == 404
