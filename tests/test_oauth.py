"""Login by WeChat: a browser, the service, and WeChat's page and API played locally over HTTP."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
from flask import Flask, g, request, session
from flask.sessions import NullSession
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.api import get_api
from app.config import Settings
from app.errors import ApiError
from app.oauth import USERINFO, openid_required
from app.sandbox.login import OPENID
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from app.store import db
from app.store.fans import find_fan, keep_fan
from tests.servers import APPID, TOKEN
from tests.wechat_server import APPSECRET, WeChatServer

SITE = "https://wx.example.com"
ACCOUNT = f"{APPID}~played"


class Browser:
    """A fan's browser with its cookies."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, base_url=SITE)

    def agree(self, address: str, choice: str = "allow") -> str:
        """Answer WeChat's page at ``address`` and return the path on this site to which it sends back."""
        parts = urlsplit(address)
        form = {**dict(parse_qsl(parts.query)), "choice": choice}
        page = requests.post(address.partition("?")[0], data=form, allow_redirects=False, timeout=5)
        assert page.status_code == 302, page.text
        return page.headers["Location"].removeprefix(SITE)

    def log_in(self, path: str, choice: str = "allow") -> TestResponse:
        """Open the page at ``path``, go where it sends, and return what is seen in the end."""
        response = self.get(path)
        for _ in range(10):
            if response.status_code != 302:
                return response
            where = response.headers["Location"]
            where = self.agree(where, choice) if "/connect/oauth2/authorize" in where else where
            response = self.get(where.removeprefix(SITE))
        raise AssertionError(f"it goes round: {where}")


@pytest.fixture
def open_app(
    server: WeChatServer, settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Flask]]:
    monkeypatch.chdir(tmp_path)
    apps = []

    def make(**more: str) -> Flask:
        app = create_app(settings(**{**server.settings, "WECHAT_SANDBOX": "1", "WECHAT_PUBLIC_URL": SITE, **more}))

        @app.get("/mine")
        @openid_required()
        def mine() -> str:
            return f"{g.fan.openid} {g.fan.is_snapshotuser}"

        @app.route("/named", methods=["GET", "POST"])
        @openid_required(scope=USERINFO)
        def named() -> str:
            return f"{g.fan.openid} {g.fan.nickname} {g.fan.is_snapshotuser}"

        apps.append(app)
        return app

    yield make
    for app in apps:
        with app.app_context():
            db.engine.dispose()
            if app.config["WECHAT_APPSECRET"]:
                get_api().client._http.close()


@pytest.fixture
def app(open_app: Callable[..., Flask]) -> Flask:
    return open_app()


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def login_query(response: TestResponse) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(response.headers["Location"]).query))


def test_a_page_gets_its_fan_after_a_silent_login(app: Flask, browser: Browser) -> None:
    page = browser.log_in("/mine?a=1&b=%E4%B8%AD")
    assert page.text == f"{OPENID} False"
    assert page.request.full_path == "/mine?a=1&b=%E4%B8%AD"
    with app.app_context():
        fan = find_fan(ACCOUNT, OPENID)
    assert fan is not None
    assert (fan.nickname, fan.unionid is not None) == (None, True)
    assert browser.get("/mine").status_code == 200  # and stays logged in


def test_the_name_is_there_after_the_fan_agreed(app: Flask, browser: Browser) -> None:
    assert browser.log_in("/named").text == f"{OPENID} 用户 0000 False"
    with app.app_context():
        fan = find_fan(ACCOUNT, OPENID)
        assert fan is not None
        keep_fan(ACCOUNT, OPENID, {})  # a silent login later
        again = find_fan(ACCOUNT, OPENID)
    assert again is not None
    assert again.nickname == fan.nickname == "用户 0000"


def test_a_silent_login_is_not_enough_for_the_name(browser: Browser) -> None:
    browser.log_in("/mine")
    assert login_query(browser.get(browser.get("/named").headers["Location"]))["scope"] == USERINFO
    assert browser.log_in("/named").status_code == 200
    assert browser.get("/mine").status_code == 200


def test_a_snapshot_user_is_told_apart_and_not_kept(app: Flask, browser: Browser) -> None:
    openid, _, is_snapshot = browser.log_in("/named", "snapshot").text.split()
    assert openid.startswith("oSnapshot")
    assert is_snapshot == "True"
    with app.app_context():
        assert find_fan(ACCOUNT, openid) is None


def test_the_address_at_wechat_is_as_wechat_wants_it(open_app: Callable[..., Flask]) -> None:
    browser = Browser(open_app(WECHAT_SANDBOX="", WECHAT_SECRET_KEY="k" * 32))
    location = browser.get("/oauth/login?next=/x").headers["Location"]
    pattern = (
        rf"https://open\.weixin\.qq\.com/connect/oauth2/authorize\?appid={APPID}"
        r"&redirect_uri=https%3A%2F%2Fwx\.example\.com%2Foauth%2Fcallback"
        r"&response_type=code&scope=snsapi_base&state=[0-9a-zA-Z]{34,128}#wechat_redirect"
    )
    assert re.fullmatch(pattern, location)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/ok\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "evil",
        "https://wx.example.com.evil.example/",
        "https://wx.example.com//evil.example/",
        "/oauth/login",
        "/oauth/callback?code=1",
        "",
    ],
)
def test_nobody_is_sent_to_another_site(browser: Browser, elsewhere: str) -> None:
    response = browser.client.get("/oauth/login", query_string={"next": elsewhere}, base_url=SITE)
    assert response.status_code == 400
    assert "Location" not in response.headers


def test_an_address_of_this_site_will_do_too(browser: Browser) -> None:
    response = browser.client.get("/oauth/login", query_string={"next": f"{SITE}/mine"}, base_url=SITE)
    back = browser.agree(response.headers["Location"])
    assert browser.get(back).headers["Location"] == "/mine"


def test_an_unknown_scope_is_refused(browser: Browser) -> None:
    assert browser.get("/oauth/login?scope=snsapi_login").status_code == 400
    with pytest.raises(ValueError, match="snsapi_base or snsapi_userinfo"):
        openid_required(scope="userinfo")


def test_another_browser_cannot_use_the_way_back(app: Flask, browser: Browser, server: WeChatServer) -> None:
    back = browser.agree(browser.get("/oauth/login?next=/mine").headers["Location"])
    other = Browser(app)
    response = other.get(back)
    assert urlsplit(response.headers["Location"]).path == "/oauth/login"
    assert server.calls_of("/sns/oauth2/access_token") == []
    assert other.get("/mine").status_code == 302
    assert browser.get(back).headers["Location"] == "/mine"  # and it is still good where it belongs


def test_the_way_back_loaded_again_leads_to_the_page_without_another_code(
    browser: Browser, server: WeChatServer
) -> None:
    back = browser.agree(browser.get("/oauth/login?next=/mine").headers["Location"])
    for _ in range(3):
        assert browser.get(back).headers["Location"] == "/mine"
    assert server.calls_of("/sns/oauth2/access_token") == [0]


@pytest.mark.parametrize("errcode", [40029, 40163])
def test_a_code_that_is_used_or_expired_leads_to_a_clean_new_login(
    errcode: int, browser: Browser, server: WeChatServer
) -> None:
    server.wechat.fail("/sns/oauth2/access_token", errcode=errcode, times=1)
    assert browser.log_in("/mine").text.startswith(OPENID)
    assert server.calls_of("/sns/oauth2/access_token") == [errcode, 0]


def test_a_code_that_is_never_good_ends_on_a_page_and_not_in_a_circle(browser: Browser, server: WeChatServer) -> None:
    server.wechat.fail("/sns/oauth2/access_token", errcode=40029)
    response = browser.log_in("/mine")
    assert response.status_code == 403
    assert "/oauth/login?next=/mine" in response.text
    assert server.calls_of("/sns/oauth2/access_token") == [40029, 40029]


def test_a_browser_without_cookies_does_not_go_round(app: Flask) -> None:
    browser = Browser(app)
    browser.client = app.test_client(use_cookies=False)
    assert browser.log_in("/mine").status_code == 403


def test_a_fan_who_refuses_can_try_again(browser: Browser) -> None:
    state = login_query(browser.get("/oauth/login?next=/named&scope=snsapi_userinfo"))["state"]
    response = browser.get(f"/oauth/callback?state={state}")
    assert response.status_code == 403
    assert "/oauth/login?next=/named" in response.text


def test_logins_in_several_tabs_each_end_on_their_page(browser: Browser) -> None:
    tabs = [browser.get(f"/oauth/login?next=/mine?tab={tab}").headers["Location"] for tab in range(3)]
    ends = [browser.get(browser.agree(tab)).headers["Location"] for tab in reversed(tabs)]
    assert ends == ["/mine?tab=2", "/mine?tab=1", "/mine?tab=0"]


@pytest.mark.parametrize("kind", ["cut", "html", "errcode"])
def test_a_wechat_that_fails_is_a_page_that_says_so(kind: str, browser: Browser, server: WeChatServer) -> None:
    server.wechat.fail("/sns/oauth2/access_token", kind, errcode=-1)
    response = browser.log_in("/mine")
    assert response.status_code == 503
    assert "/oauth/login?next=/mine" in response.text
    assert APPSECRET not in response.text
    assert len(server.calls_of("/sns/oauth2/access_token")) == 1  # a code is not used twice


def test_what_is_no_get_is_answered_with_401(browser: Browser) -> None:
    assert browser.client.post("/named", base_url=SITE).status_code == 401


@pytest.mark.parametrize("event", ["unsubscribe", "user_authorization_revoke"])
def test_who_leaves_is_forgotten_and_has_to_log_in_again(event: str, app: Flask, browser: Browser) -> None:
    browser.log_in("/mine")
    query, body = Phone("", TOKEN, OPENID).envelope(event_message(OPENID, event))
    assert browser.client.post("/wechat", query_string=query, data=body).status_code == 200
    with app.app_context():
        assert find_fan(ACCOUNT, OPENID) is None
    assert browser.get("/mine").status_code == 302


def test_cookies_are_closed_to_others(open_app: Callable[..., Flask]) -> None:
    for url, is_secure in ((SITE, True), ("http://wx.example.com", False)):
        cookie = Browser(open_app(WECHAT_PUBLIC_URL=url)).get("/oauth/login").headers["Set-Cookie"]
        assert cookie.startswith(f"wechat_{APPID}=")
        assert ("Secure" in cookie) is is_secure
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


def test_a_cookie_of_another_key_is_no_login(open_app: Callable[..., Flask]) -> None:
    ours, theirs = open_app(WECHAT_SECRET_KEY="k" * 32), open_app(WECHAT_SECRET_KEY="x" * 32)
    browser = Browser(theirs)
    browser.log_in("/mine")
    assert browser.get("/mine").status_code == 200
    cookie = browser.client.get_cookie(f"wechat_{APPID}", domain="wx.example.com")
    assert cookie is not None
    other = Browser(ours)
    other.client.set_cookie(f"wechat_{APPID}", cookie.value, domain="wx.example.com")
    assert other.get("/mine").status_code == 302


def test_the_callback_of_wechat_gets_no_cookie(app: Flask, browser: Browser) -> None:
    with app.test_request_context("/wechat"):
        assert isinstance(session._get_current_object(), NullSession)  # type: ignore[attr-defined]
    query, body = Phone("", TOKEN, OPENID).envelope(text_message(OPENID, "你好"))
    response = browser.client.post("/wechat", query_string=query, data=body)
    assert response.status_code == 200
    assert not {"Set-Cookie", "Vary"} & set(response.headers.keys())


@pytest.mark.parametrize("missing", ["WECHAT_APPSECRET", "WECHAT_PUBLIC_URL"])
def test_a_login_that_is_not_set_up_says_so(
    missing: str, open_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app(**{missing: "", "WECHAT_SANDBOX": ""})
    assert Browser(app).get("/oauth/login").status_code == 503
    assert missing in caplog.text


def test_a_database_that_is_down_is_a_page_that_says_so(app: Flask, browser: Browser, tmp_path: Path) -> None:
    with app.app_context():
        db.engine.dispose()
        (tmp_path / "wechat.db").write_bytes(b"not a database" * 1000)
    response = browser.log_in("/mine")
    assert response.status_code == 503
    assert "/oauth/login?next=/mine" in response.text


def test_what_a_login_says_is_kept_by_no_cache_and_told_to_no_other_site(browser: Browser) -> None:
    for path in ("/oauth/login?next=/mine", "/oauth/callback?code=x&state=y", "/oauth/login?next=//x"):
        headers = browser.get(path).headers
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


def test_an_old_state_starts_a_new_login(
    browser: Browser, server: WeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = browser.agree(browser.get("/oauth/login?next=/mine").headers["Location"])
    now = time.time()
    monkeypatch.setattr("app.oauth.time.time", lambda: now + 901)
    assert urlsplit(browser.get(back).headers["Location"]).path == "/oauth/login"
    assert server.calls_of("/sns/oauth2/access_token") == []


@pytest.mark.parametrize("path", ["/shop/a%20b", "/shop/a%3Fb?x=1", "/shop/%E4%B8%AD?q=%2B&r=?"])
def test_the_page_is_found_again_whatever_its_path(path: str, app: Flask, browser: Browser) -> None:
    @app.get("/shop/<path:name>")
    @openid_required()
    def shop(name: str) -> str:
        return f"{request.path} {request.query_string.decode()}"

    page = browser.log_in(path)
    assert page.status_code == 200
    assert page.text == f"{unquote(path.partition('?')[0])} {path.partition('?')[2]}"


@pytest.mark.parametrize(("said", "status"), [("snsapi_userinfo,", 200), ("snsapi_base", 403), ("", 403)])
def test_a_scope_is_read_as_wechat_writes_it_and_less_than_asked_for_ends_on_a_page(
    said: str, status: int, browser: Browser, server: WeChatServer
) -> None:
    server.wechat.set(said_scope=said)
    assert browser.log_in("/named").status_code == status


def test_addresses_on_the_pages_are_escaped(browser: Browser) -> None:
    state = login_query(browser.get("/oauth/login?next=/x%22%3E%3Cscript%3E%26a&scope=snsapi_userinfo"))["state"]
    page = browser.get(f"/oauth/callback?state={state}").text
    assert "<script>" not in page
    assert page.count('"') % 2 == 0


def test_many_long_addresses_do_not_make_the_cookie_too_long(browser: Browser) -> None:
    for number in range(6):
        response = browser.get(f"/oauth/login?next=/{'x' * 1400}{number}")
        assert len(response.headers["Set-Cookie"]) < 4000
    assert browser.get(browser.agree(response.headers["Location"])).headers["Location"].endswith("x5")
    assert browser.get(f"/oauth/login?next=/{'x' * 1600}").status_code == 400


def kept(app: Flask) -> set[str]:
    cache = app.extensions["wechat_api"].cache
    return {key for one in {cache, cache.fans} for key in one._backend._cache}


def test_a_stranger_leaves_nothing_in_the_cache(app: Flask, browser: Browser, server: WeChatServer) -> None:
    before = kept(app)
    for query in ("", "&code=authdeny", "&code=made-up"):
        for _ in range(3):
            state = login_query(browser.get("/oauth/login?next=/mine"))["state"]
            browser.get(f"/oauth/callback?state={state}{query}")
            Browser(app).get(f"/oauth/callback?state={state}{query}")
    assert server.calls_of("/sns/oauth2/access_token") == [40029] * 3
    assert kept(app) == before
    assert browser.log_in("/mine").status_code == 200
    assert len(kept(app) - before) == 1  # the state, which WeChat has vouched for


def test_a_state_is_good_once_also_with_a_copy_of_the_cookie(app: Flask, browser: Browser) -> None:
    address = browser.get("/oauth/login?next=/mine").headers["Location"]
    cookie = browser.client.get_cookie(f"wechat_{APPID}", domain="wx.example.com")
    assert cookie is not None
    assert browser.get(browser.agree(address)).headers["Location"] == "/mine"
    other = Browser(app)
    other.client.set_cookie(f"wechat_{APPID}", cookie.value, domain="wx.example.com")
    assert urlsplit(other.get(browser.agree(address)).headers["Location"]).path == "/oauth/login"
    assert other.get("/mine").status_code == 302


@pytest.mark.parametrize("path", ["/named?a=1&b=%E4%B8%AD", "/named?" + "x" * 1400, "/"])
def test_a_browser_that_comes_back_without_its_cookies_logs_in_anew_for_the_same_page(
    path: str, app: Flask, browser: Browser, server: WeChatServer
) -> None:
    address = browser.client.get("/oauth/login", query_string={"next": path, "scope": USERINFO}, base_url=SITE).headers[
        "Location"
    ]
    other = Browser(app)
    anew = other.get(browser.agree(address)).headers["Location"]
    assert login_query_of(anew) == {"next": path, "scope": USERINFO, "again": "1"}
    assert server.calls_of("/sns/oauth2/access_token") == []
    again = other.get(anew).headers["Location"]
    assert other.get(other.agree(again)).headers["Location"] == path


def login_query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


@pytest.mark.parametrize("state", ["", "x", "00", "0" * 34 + "b", "0" * 34 + "zz", "0" * 34 + "n5sf6", "1" * 500])
def test_a_state_that_nobody_made_leads_nowhere_else(state: str, browser: Browser) -> None:
    response = browser.get(f"/oauth/callback?code=1&state={state}")
    if response.status_code == 302:
        assert urlsplit(response.headers["Location"]).path == "/oauth/login"
        assert browser.get(response.headers["Location"]).status_code in (302, 400)
    else:
        assert response.status_code == 403


def test_a_fan_who_declines_is_told_so_and_not_asked_again(browser: Browser, server: WeChatServer) -> None:
    state = login_query(browser.get("/oauth/login?next=/named&scope=snsapi_userinfo"))["state"]
    for _ in range(2):
        response = browser.get(f"/oauth/callback?code=authdeny&state={state}")
        assert response.status_code == 403
        assert "你取消了登录" in response.text
        assert "/oauth/login?next=/named" in response.text
    assert server.calls_of("/sns/oauth2/access_token") == []


def test_the_profile_of_a_snapshot_user_is_not_asked_for(browser: Browser, server: WeChatServer) -> None:
    server.wechat.fail("/sns/userinfo", errcode=48001)
    server.wechat.set(said_scope="snsapi_base")
    assert browser.log_in("/named", "snapshot").text.endswith("None True")
    assert server.calls_of("/sns/userinfo") == []
    assert browser.get("/named").status_code == 200


@pytest.mark.parametrize(("errcode", "status"), [(40164, 200), (40125, 503)])
def test_a_pause_of_the_token_stops_no_login_and_one_of_the_secret_does(
    errcode: int, status: int, app: Flask, browser: Browser, server: WeChatServer
) -> None:
    server.wechat.fail("/cgi-bin/stable_token", errcode=errcode)
    with app.app_context(), pytest.raises(ApiError):
        get_api().client.user.get("o1")
    assert browser.log_in("/named").status_code == status
    with app.app_context(), pytest.raises(ApiError):
        get_api().client.menu.get()
    assert server.calls_of("/cgi-bin/stable_token") == [errcode]  # a login that went well has not ended the pause
