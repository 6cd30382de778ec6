"""Who gets into the console, and who does not."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api import get_client
from tests.actors import Account
from tests.console.conftest import CHEAP_HASH, ORIGIN, PASSWORD, Open, Operator
from tests.servers import AES_KEY
from tests.wechat_server import WeChatServer

PAGES = ["/", "/handlers", "/menu", "/codes", "/fans", "/messages", "/doctor"]


@pytest.fixture
def stranger(account: Callable[..., Account]) -> Operator:
    return Operator(account(WECHAT_ADMIN_PASSWORD=CHEAP_HASH))


def test_without_a_password_there_is_no_console(account: Callable[..., Account]) -> None:
    assert Operator(account()).client.get("/console/").status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_a_page_without_the_password(stranger: Operator, page: str) -> None:
    response = stranger.client.get(f"/console{page}")
    assert (response.status_code, response.headers["Location"]) == (302, f"/console/login?next=/console{page}")
    polled = stranger.client.get(f"/console{page}", headers={"HX-Request": "true"})
    assert (polled.status_code, polled.text) == (
        401,
        "log in again first, in another window and by the same name: nothing here is lost",
    )


def test_who_knows_it_gets_to_the_page_that_was_asked_for(stranger: Operator) -> None:
    assert stranger.log_in(next="/console/handlers").headers["Location"] == "/console/handlers"
    assert "小王" in stranger.text("/handlers")


@pytest.mark.parametrize("target", ["https://example.com/", "//example.com", "/console/\\example.com", "/wechat", ""])
def test_a_login_leads_to_no_other_site(stranger: Operator, target: str) -> None:
    assert stranger.log_in(next=target).headers["Location"] == "/console/"


def test_a_wrong_password_is_refused_and_is_in_no_line(stranger: Operator, capfd: pytest.CaptureFixture[str]) -> None:
    response = stranger.log_in("wrong horse")
    assert (response.status_code, "Set-Cookie" in response.headers) == (403, False)
    said = capfd.readouterr().err
    assert "wechat.audit login refused: wrong password" in said
    assert "horse" not in said


def test_attempts_are_limited_and_a_right_password_does_not_help_then(stranger: Operator) -> None:
    assert [stranger.log_in("wrong horse").status_code for _ in range(6)] == [403] * 5 + [429]
    refused = stranger.log_in()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "300")


def test_good_logins_are_not_limited(stranger: Operator) -> None:
    assert {stranger.log_in().status_code for _ in range(8)} == {302}


def test_attempts_are_limited_also_where_the_cache_is_down(account: Callable[..., Account]) -> None:
    stranger = Operator(account(WECHAT_ADMIN_PASSWORD=PASSWORD, WECHAT_CACHE_URL="redis://127.0.0.1:1"))
    assert [stranger.log_in("wrong horse").status_code for _ in range(6)] == [403] * 5 + [429]


def test_the_cookie_is_closed_to_scripts_and_other_sites(stranger: Operator) -> None:
    cookie = stranger.log_in().headers["Set-Cookie"]
    assert re.fullmatch(
        r"wechat_console_=\S+; Expires=[^;]+; Max-Age=43200; HttpOnly; Path=/console/; SameSite=Strict", cookie
    )


def test_an_account_below_a_path_of_nginx_has_its_pages_and_its_cookie_there(stranger: Operator) -> None:
    below = {"environ_overrides": {"SCRIPT_NAME": "/wechat/shop"}}
    turned_away = stranger.client.get("/console/fans?q=x", **below)
    assert turned_away.headers["Location"] == "/wechat/shop/console/login?next=/wechat/shop/console/fans?q%3Dx"
    form = {"operator": "小王", "password": PASSWORD, "next": "/wechat/shop/console/fans"}
    response = stranger.client.post("/console/login", data=form, headers=ORIGIN, **below)
    assert response.headers["Location"] == "/wechat/shop/console/fans"
    assert "Path=/wechat/shop/console/;" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "page", [*PAGES, "/?span=day", "/live", "/quotas", "/doctor/lines", "/codes/new", "/menu?revision=9"]
)
def test_every_link_and_form_below_a_path_stays_below_it(console: Open, page: str) -> None:
    operator, below = console(), {"SCRIPT_NAME": "/wechat/shop"}
    operator.client.set_cookie("wechat_console_", operator.cookie, path="/")
    shown = operator.client.get(f"/console{page}", environ_overrides=below).text
    leads = re.findall(r'(?:href|src|action|formaction|hx-get|hx-post)="([^"]*)"', shown)
    assert [lead for lead in leads if not lead.startswith(("/wechat/shop/console/", "#", "data:"))] == []


def test_where_the_database_fails_the_way_to_try_again_stays_below_it_too(console: Open, tmp_path: Path) -> None:
    operator, below = console(WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/none.db"), {"SCRIPT_NAME": "/wechat/shop"}
    operator.client.set_cookie("wechat_console_", operator.cookie, path="/")
    response = operator.client.get("/console/fans?q=x", environ_overrides=below)
    assert (response.status_code, '<a href="/wechat/shop/console/fans?q=x">' in response.text) == (503, True)


@pytest.mark.parametrize("length", [200, 201])
def test_a_password_may_have_200_characters(account: Callable[..., Account], length: int) -> None:
    stranger = Operator(account(WECHAT_ADMIN_PASSWORD="x" * 200))
    assert stranger.log_in("x" * length).status_code == (302 if length == 200 else 403)


def test_a_change_without_the_pages_token_is_refused(console: Open) -> None:
    operator = console()
    for wrong in ("", "0" * 32, "é"):
        response = operator.client.post("/console/logout", data={"csrf": wrong}, headers=ORIGIN)
        assert response.status_code == 403
    for origin in ("https://example.com", "http://[", "null", ""):
        form = {"csrf": operator.csrf}
        assert operator.client.post("/console/logout", data=form, headers={"Origin": origin}).status_code == 403
    operator.get("/")


def test_a_page_stays_good_for_the_same_name_in_another_session_and_for_no_other(console: Open) -> None:
    operator = console()
    before, cookie = operator.csrf, operator.cookie
    operator.post("/logout")
    operator.log_in()
    assert operator.cookie != cookie
    operator.csrf = before
    operator.post("/logout")
    operator.log_in(name="小李")
    operator.csrf = before
    operator.post("/logout", status=403)


def test_what_is_not_there_is_said_on_a_page_of_the_console(console: Open) -> None:
    page = console().get("/codes/999", status=404)
    assert "There is no such page" in page
    assert '<a href="/console/fans">' in page


def test_after_the_logout_a_copy_of_the_cookie_is_of_no_use(console: Open) -> None:
    operator = console()
    copy = operator.client.get_cookie("wechat_console_", path="/console/")
    assert copy is not None
    operator.post("/logout")
    operator.get("/", status=302)
    operator.client.set_cookie("wechat_console_", copy.value, path="/console/")
    operator.get("/", status=302)


def test_a_cookie_of_another_password_is_of_no_use(console: Open, account: Callable[..., Account]) -> None:
    cookie = console().client.get_cookie("wechat_console_", path="/console/")
    assert cookie is not None
    other = Operator(account(WECHAT_ADMIN_PASSWORD="another horse"))
    other.client.set_cookie("wechat_console_", cookie.value, path="/console/")
    other.get("/", status=302)


def test_a_session_ends_after_twelve_hours(console: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, now = console(), time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 12 * 3600 - 5)
    operator.get("/doctor")
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + 12 * 3600 + 5)
    operator.get("/doctor", status=302)


def test_no_page_shows_a_secret(console: Open, server: WeChatServer) -> None:
    operator = console(**server.settings, WECHAT_SECRET_KEY="k" * 40, WECHAT_ENCODING_AES_KEY=AES_KEY)
    with operator.app.app_context():
        secrets = (*operator.account.settings.secrets, get_client().access_token, PASSWORD)
    for page in (*PAGES, "/live", "/quotas", "/doctor/lines"):
        shown = operator.get(page)
        assert [secret for secret in secrets if secret in shown] == []


def test_each_login_and_logout_is_in_the_log(console: Open, capfd: pytest.CaptureFixture[str]) -> None:
    console(WECHAT_LOG_LEVEL="ERROR").post("/logout")
    lines = [line.partition("INFO ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == [f"wechat.audit {action} operator=小王 from=127.0.0.1" for action in ("login", "logout")]


def test_pages_allow_no_inline_script_and_nothing_from_elsewhere(console: Open) -> None:
    response = console().client.get("/console/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?! src=\"/console/static/)|\son\w+=|\sstyle=|https?://", response.text)


def test_others_than_this_machine_see_no_login(stranger: Operator) -> None:
    response = stranger.client.get("/console/login", environ_base={"REMOTE_ADDR": "203.0.113.1"})
    assert response.status_code == 403
