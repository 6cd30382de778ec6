"""Signatures for pages that use the JS-SDK."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.api import get_api
from app.api.client import Client
from app.config import Settings
from tests.servers import APPID
from tests.wechat_server import WeChatServer

SITE = "https://wx.example.com"
TICKET_PATH = "/cgi-bin/ticket/getticket"


@pytest.fixture
def open_app(server: WeChatServer, settings: Callable[..., Settings]) -> Iterator[Callable[..., Flask]]:
    apps = []

    def make(**more: str) -> Flask:
        given = {"WECHAT_PUBLIC_URL": SITE, "WECHAT_JSSDK_HOSTS": "m.example.com, 203.0.113.5:8080"}
        apps.append(create_app(settings(**{**server.settings, **given, **more})))
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context():
            if app.config["WECHAT_APPSECRET"]:
                get_api().client._http.close()


@pytest.fixture
def browser(open_app: Callable[..., Flask]) -> FlaskClient:
    return open_app().test_client()


def sign(browser: FlaskClient, url: str, **headers: str) -> Any:
    return browser.get("/jssdk", query_string={"url": url}, headers=headers)


def test_the_official_example_is_signed_as_it_is_there(open_app: Callable[..., Flask]) -> None:
    # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/JS-SDK.html
    ticket = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg"
    with open_app().app_context():
        client: Client = get_api().client
        given = ("Wm3WZYTPz0wzccnW", ticket, 1414587457)
        plain = client.jsapi.get_jsapi_signature(*given, "http://mp.weixin.qq.com")
        with_query = client.jsapi.get_jsapi_signature(*given, "http://mp.weixin.qq.com?params=value")
    assert plain == "f4d90daf4b3bca3078ab155816175ba34c443a7b"
    assert with_query == "0f9de62fce790f9a083d5c99e95740ceb90c27ed"


@pytest.mark.parametrize(
    "url",
    [
        f"{SITE}/page?a=1&b=中",
        f"{SITE}/p?",
        f"{SITE}/p;?x",
        f"{SITE}/p;",
        f"{SITE}/a b?c+d=%E4%B8%AD&&",
        f"{SITE}?",
        SITE,
        "http://WX.example.com/",
        "https://m.example.com/x",
        "http://203.0.113.5:8080/y",
    ],
)
def test_pages_of_this_site_and_of_the_hosts_in_the_settings_are_signed(
    url: str, open_app: Callable[..., Flask]
) -> None:
    app = open_app()
    said = sign(app.test_client(), f"{url}#/route?x#y").get_json()
    with app.app_context():
        ticket = get_api().client.jsapi_ticket
    text = f"jsapi_ticket={ticket}&noncestr={said['nonceStr']}&timestamp={said['timestamp']}&url={url}"
    assert said["signature"] == hashlib.sha1(text.encode()).hexdigest()
    assert said["appId"] == APPID


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://wx.example.com.evil.example/",
        "https://wx.example.com@evil.example/",
        "https://evil.example#https://wx.example.com/",
        "https://m.example.com:444/",
        "javascript:alert(1)",
        "//wx.example.com/",
        "https://[",
    ],
)
def test_pages_of_others_are_refused(url: str, browser: FlaskClient, server: WeChatServer) -> None:
    response = sign(browser, url)
    assert response.status_code == 403
    assert "wx.example.com" in response.get_json()["error"]
    assert server.calls_of(TICKET_PATH) == []


def test_a_missing_url_is_named(browser: FlaskClient) -> None:
    response = browser.get("/jssdk")
    assert response.status_code == 400
    assert response.get_json()["error"].startswith("url: expected")


@pytest.mark.parametrize("rest", ["?a=1&from=x", "?a=1&", "?a=1+2", "?&t=1", "?a=1&url=https://wx.example.com/"])
def test_an_address_that_was_not_encoded_is_not_signed_by_half(rest: str, browser: FlaskClient) -> None:
    response = browser.get(f"/jssdk?url={SITE}/p{rest}")
    assert response.status_code == 400
    assert "encodeURIComponent" in response.get_json()["error"]


@pytest.mark.parametrize("query", [f"url={SITE}/p?a=1", f"t=1&url={SITE}/p?a=1", f"url={SITE}/p%3Fa=1%2B2%26b&t=1"])
def test_one_that_was_is_signed_whatever_stands_beside_it(query: str, browser: FlaskClient) -> None:
    assert browser.get(f"/jssdk?{query}").status_code == 200


def test_one_ticket_serves_all(browser: FlaskClient, server: WeChatServer) -> None:
    signed = [sign(browser, f"{SITE}/").get_json() for _ in range(5)]
    assert len({one["nonceStr"] for one in signed}) == 5
    assert server.calls_of(TICKET_PATH) == [0]


def test_only_pages_of_the_hosts_may_read_it_from_elsewhere(browser: FlaskClient) -> None:
    ours = sign(browser, "https://m.example.com/x", Origin="https://m.example.com")
    theirs = sign(browser, "https://m.example.com/x", Origin="https://evil.example")
    assert ours.headers["Access-Control-Allow-Origin"] == "https://m.example.com"
    assert "Access-Control-Allow-Origin" not in theirs.headers
    assert ours.headers["Vary"] == theirs.headers["Vary"] == "Origin"


def test_a_wechat_that_fails_is_503_and_the_log_says_why(
    browser: FlaskClient, server: WeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.wechat.fail(TICKET_PATH, errcode=48001)
    assert sign(browser, f"{SITE}/").status_code == 503
    assert "48001" in caplog.text


def test_without_an_account_it_is_503(open_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture) -> None:
    app = open_app(WECHAT_APPSECRET="")
    assert sign(app.test_client(), f"{SITE}/").status_code == 503
    assert "WECHAT_APPSECRET" in caplog.text
