"""The console's QR codes: found among a thousand, counted, and made once."""

import logging
import re
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from app.api import get_api
from app.store import db, transaction
from app.store.models import QrCode
from tests.console.conftest import Open, Operator, readable
from tests.console.kept_codes import DAY, MONTH, add, count, listed, statements
from tests.wechat_server import WeChatServer

CREATE = "/cgi-bin/qrcode/create"
NEW = {"scene": "poster-7", "kind": "str", "unit": "permanent", "amount": ""}


@pytest.fixture
def operator(console: Open, server: WeChatServer) -> Iterator[Operator]:
    operator = console(**server.settings)
    yield operator
    with operator.app.app_context():
        db.engine.dispose()
        get_api().client._http.close()


def test_without_codes_the_page_says_so(operator: Operator) -> None:
    assert "There is no QR code yet." in operator.text("/codes")
    assert "No scene contains “poster”." in operator.text("/codes?q=poster")
    chinese = operator.client.get("/console/codes", headers={"Accept-Language": "zh-CN"}).text
    assert "还没有二维码" in chinese


def test_the_newest_come_first_with_type_life_scans_and_follows(operator: Operator) -> None:
    now = int(time.time())
    add(operator, "poster-7")
    add(operator, "7", kind="int", expire_seconds=MONTH, ends_at=now + DAY)
    add(operator, "gone", expire_seconds=MONTH, ends_at=now - DAY)
    count(operator, "poster-7", 422, 3, 1)
    count(operator, "poster-7", 0, 4, 2)
    until, ended = (time.strftime("%Y-%m-%d %H:%M", time.localtime(now + days)) for days in (DAY, -DAY))
    assert listed(operator.get("/codes")) == [
        f"gone text ended {ended} 0 0 PNG SVG",
        f"7 number until {until} 0 0 PNG SVG",
        "poster-7 text permanent 7 3 PNG SVG",
    ]


def test_the_last_thirty_days_are_drawn_and_said(operator: Operator) -> None:
    [code] = add(operator, "poster-7")
    for days_ago, scans, follows in ((0, 4, 0), (29, 1, 2), (30, 50, 50)):
        count(operator, "poster-7", days_ago, scans, follows)
    page = operator.get("/codes")
    assert 'role="img" aria-label="Last 30 days: scans 5, follows 2"' in page
    assert re.findall(r'class="scans" d="([^"]*)"', page) == ["M0.5 20V15.0M29.5 20V0.0"]
    assert re.findall(r'class="follows" d="([^"]*)"', page) == ["M0.5 15.0V5.0"]
    details = operator.get(f"/codes/{code}")
    first, last = (date.today() - timedelta(29)).isoformat(), date.today().isoformat()
    table = [readable(row) for row in re.findall(r'<tr><th scope="row">.*?</tr>', details)]
    assert (len(table), table[0], table[-1]) == (30, f"{last} 4 0", f"{first} 1 2")
    assert "Scans by followers 55 Follows by it 52" in readable(details)


@pytest.mark.parametrize(
    ("part", "found"),
    [("%25", "100%_off"), ("_", "100%_off"), ("门店", "上海门店"), ("%20%E6%B5%B7 ", "上海门店"), ("%00a/b%0a", "a/b")],
)
def test_a_part_of_the_scene_finds_the_code(operator: Operator, part: str, found: str) -> None:
    add(operator, "100%_off", "上海门店", "a/b", "1000off")
    assert [row.split()[0] for row in listed(operator.get(f"/codes?q={part}"))] == [found]


def test_the_list_is_read_page_by_page(operator: Operator) -> None:
    add(operator, *(f"shop-{number:03}" for number in range(120)), "other")
    first = operator.get("/codes?q=shop")
    assert [row.split()[0] for row in listed(first)] == [f"shop-{number:03}" for number in range(119, 69, -1)]
    assert "page 1 of 3, 120 in all" in first
    assert '<a href="/console/codes?q=shop&amp;page=2" rel="next">Next</a>' in first
    assert '<a href="/console/codes?q=shop&amp;page=3">Last</a>' in first
    assert 'rel="prev"' not in first
    last = operator.get("/codes?q=shop&page=3")
    assert [row.split()[0] for row in listed(last)] == [f"shop-{number:03}" for number in range(19, -1, -1)]
    assert '<a href="/console/codes?q=shop&amp;page=2" rel="prev">Previous</a>' in last
    assert '<a href="/console/codes?q=shop&amp;page=1">First</a>' in last
    assert 'rel="next"' not in last


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999"])
def test_a_page_that_is_not_there_shows_another(operator: Operator, page: str) -> None:
    add(operator, "poster-7")
    assert len(listed(operator.get(f"/codes?page={page}"))) == 1


def test_a_thousand_codes_ask_the_database_no_more_often_than_one(operator: Operator) -> None:
    add(operator, "poster-7")
    assert statements(operator, "/codes") == 3
    add(operator, *(f"shop-{number}" for number in range(1000)))
    for number in range(0, 1000, 20):
        count(operator, f"shop-{number}", 0, 1, 1)
    assert statements(operator, "/codes") == 3
    assert statements(operator, "/codes?q=shop&page=7") == 3
    assert statements(operator, "/codes/sheet?all=1") == 2


def test_a_code_is_made_noted_and_shown(
    operator: Operator, server: WeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    response = operator.post("/codes/new", 303, **NEW)
    page = operator.get(response.headers["Location"].removeprefix("/console"))
    assert "poster-7 text Lifetime permanent" in readable(page)
    assert "http://weixin.qq.com/q/" in page
    again = operator.post("/codes/new", 303, **NEW)
    assert again.headers["Location"] == response.headers["Location"]
    assert server.calls_of(CREATE) == [0]
    fields = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "make a QR code"]
    assert fields[0]["operator"] == "小王"
    assert (fields[0]["scene"], fields[0]["expire_seconds"]) == ("poster-7", None)


@pytest.mark.parametrize(("unit", "seconds"), [("days", 30 * DAY), ("hours", 108000), ("seconds", 30)])
def test_a_temporary_code_lives_as_long_as_was_said(
    operator: Operator, server: WeChatServer, unit: str, seconds: int
) -> None:
    operator.post("/codes/new", 303, scene="4294967295", kind="int", unit=unit, amount="30")
    with operator.app.app_context(), transaction() as session:
        [code] = session.query(QrCode).all()
    assert (code.kind, code.scene, code.expire_seconds) == ("int", "4294967295", seconds)
    assert abs(code.ends_at - time.time() - seconds) < 10


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"scene": ""}, "expected 1 to 64 visible characters"),
        ({"scene": "x" * 65}, "expected 1 to 64 visible characters"),
        ({"scene": "seven", "kind": "int"}, "The scene is 'seven'; expected a whole number"),
        ({"scene": "100001", "kind": "int"}, "scene is 100001; expected 1 to 100000"),
        ({"unit": "days", "amount": "31"}, "lives for 1 second to 30 days"),
        ({"unit": "hours", "amount": "0"}, "lives for 1 second to 30 days"),
        ({"unit": "days", "amount": "1.5"}, "The lifetime is '1.5'; expected a whole number"),
        ({"unit": "days"}, "The lifetime is ''; expected a whole number"),
        ({"amount": "3"}, "choose a unit for 3, or leave the number empty"),
        ({"unit": "years", "amount": "1"}, "choose a unit for 1"),
        ({"unit": ""}, "choose a unit"),
    ],
)
def test_what_wechat_would_not_take_is_said_at_the_form_and_still_there(
    operator: Operator, server: WeChatServer, typed: dict[str, str], says: str
) -> None:
    given = {**NEW, **typed}
    page = operator.post("/codes/new", 422, **given).text
    assert says in readable(page)
    assert f'name="scene" value="{given["scene"]}"' in page
    assert f'value="{given["amount"]}" aria-describedby="life"' in page
    assert f'<option value="{given["kind"]}" selected>' in page
    assert server.calls_of(CREATE) == []


@pytest.mark.parametrize(("kind", "errcode", "says"), [("cut", 0, "Not made: "), ("errcode", 45009, "45009")])
def test_where_wechat_fails_the_form_says_so_and_the_pages_go_on(
    operator: Operator, server: WeChatServer, kind: str, errcode: int, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.wechat.fail("*", kind, errcode=errcode)
    page = operator.post("/codes/new", 422, **NEW).text
    assert says in readable(page)
    assert 'name="scene" value="poster-7"' in page
    assert caplog.text.count("make a QR code") == caplog.text.count("make a QR code: failed") == 1
    [code] = add(operator, "poster-8")
    asked = len(server.wechat.calls)
    for path in ("", "/new", f"/{code}", f"/{code}.svg", "/sheet?all=1"):
        operator.get(f"/codes{path}")
    assert len(server.wechat.calls) == asked


def test_without_an_account_the_form_says_what_is_missing(console: Open) -> None:
    page = console().post("/codes/new", 422, **NEW).text
    assert "WECHAT_APPID and WECHAT_APPSECRET missing" in page


def test_without_tables_nothing_that_was_typed_is_lost(console: Open, server: WeChatServer, tmp_path: Any) -> None:
    operator = console(**server.settings, WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/empty.db")
    assert "no such table" in operator.get("/codes", 503)
    assert "no such table" in operator.get("/codes/1.png", 503)
    page = operator.post("/codes/new", 422, **NEW).text
    assert "no such table" in page
    assert 'name="scene" value="poster-7"' in page


def test_nobody_sees_or_makes_a_code_without_the_password(operator: Operator, server: WeChatServer) -> None:
    [code] = add(operator, "poster-7")
    stranger = Operator(operator.account)
    for path in (f"/codes/{code}", f"/codes/{code}.png", f"/codes/{code}.svg", "/codes/sheet?all=1", "/codes/new"):
        assert "/console/login" in stranger.client.get(f"/console{path}").headers["Location"]
    stranger.post("/codes/new", 401, **NEW)
    operator.post("/codes/new", 403, **NEW, csrf="0" * 32)
    assert server.calls_of(CREATE) == []
