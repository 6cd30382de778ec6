"""Fans at the console: who logged in, what is stored of one, and that it can be deleted for good."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.api import get_api
from app.callback import xml
from app.callback.handle import Wording
from app.callback.parse import parse
from app.callback.render import render
from app.once.answer import Answer
from app.once.late import LateDelivery
from app.sandbox.messages import text_message
from app.store import db, transaction
from app.store.fans import find_fan, keep_fan
from app.store.models import Fan
from tests.actors import OPENID
from tests.console.conftest import ORIGIN, Open, Operator, readable
from tests.servers import APPID
from tests.wechat_server import WeChatServer

PROFILE = {"nickname": "小明🐼", "unionid": "o6_bmjrPTlm6", "headimgurl": "https://thirdwx.qlogo.cn/mmopen/1/132"}
NOBODY = "Nobody with this openid has logged in"


def remember(message: Any) -> str:
    """Answer with what the fan said before."""
    said = ", ".join(message.session.setdefault("said", []))
    message.session["said"].append(message.content)
    return f"before: {said}"


@pytest.fixture
def operator(console: Open) -> Iterator[Operator]:
    opened = console({"text": remember}, WECHAT_APPID=APPID)
    with opened.app.app_context():
        yield opened
        db.engine.dispose()


def log_in(openid: str = OPENID, appid: str = APPID, **profile: str) -> None:
    keep_fan(appid, openid, profile or PROFILE)


def of(openid: str) -> str:
    return f"/fans?openid={quote(openid, safe='')}"


def answer_late(operator: Operator, text: str) -> None:
    """Have an answer come for the fan when WeChat waits for it no more."""
    message, cache = parse(xml.read(text_message(OPENID, "question").encode())), get_api().cache
    settings = operator.account.settings
    late = LateDelivery(settings, cache, Wording(settings), None)
    late.deliver(cache.key("answer", "1"), message, Answer(render(text, message, 1), "replied", "-", text))


def test_without_fans_the_page_says_how_they_come_here(operator: Operator) -> None:
    assert "Nobody has logged in yet. A fan appears here after logging in" in operator.text("/fans")


def test_fans_are_listed_the_latest_login_first(operator: Operator) -> None:
    log_in("oEarly", nickname="早")
    with transaction() as session:
        session.query(Fan).update({"last_login_at": 1_700_000_000, "first_login_at": 1_600_000_000})
    log_in("oLate", nickname="晚", unionid="u1")
    text = operator.text("/fans")
    assert text.index("oLate") < text.index("oEarly")
    when = [time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (1_600_000_000, 1_700_000_000)]
    assert f"早 oEarly – {' '.join(when)}" in text
    assert "2 in all" in text


@pytest.mark.parametrize(
    ("words", "openids"),
    [
        ("50%", ["oF0"]),
        ("%", ["oF0"]),
        ("_", ["oF1"]),
        ("小明", ["oF2"]),
        (" oF2 ", ["oF2"]),
        ("u-0", ["oF0"]),
        ("F2", []),
        ("<b>", []),
        ("a\x00", []),
        ("好" * 5000, []),
        ("", ["oF2", "oF1", "oF0"]),
    ],
)
def test_fans_are_found_by_nickname_openid_and_unionid(operator: Operator, words: str, openids: list[str]) -> None:
    for number, nickname in enumerate(["50% off", "x_y", "小明🐼"]):
        log_in(f"oF{number}", nickname=nickname, unionid=f"u-{number}")
    page = operator.get(f"/fans?q={quote(words)}")
    assert re.findall(r'href="/console/fans\?openid=\w+">(\w+)</a>', page) == openids
    assert ("No fan matches." in page) == (not openids)
    assert "<b>" not in page


def test_the_list_is_cut_into_pages_that_lead_to_each_other(operator: Operator) -> None:
    for number in range(51):
        log_in(f"oFan{number:02}", nickname="a&b")
    first = operator.get("/fans?q=a%26b")
    (onward,) = re.findall(r'rel="next" href="/console([^"]+)"', first)
    assert "Page 1 of 2" in first
    assert (first.count("?openid="), 'rel="prev"' in first) == (50, False)
    second = operator.get(onward.replace("&amp;", "&"))
    assert ("Page 2 of 2" in second, second.count("?openid="), 'rel="next"' in second) == (True, 1, False)
    assert "oFan00" in second
    for odd in ("0", "-1", "x", "9" * 30, "9" * 5000):
        assert "of 2" in operator.get(f"/fans?page={odd}")


def test_everything_that_is_stored_of_a_fan_is_shown(operator: Operator) -> None:
    log_in()
    assert "There is no session. No answer waits for the pickup word." in operator.text(of(OPENID))
    operator.account.say("你好")
    answer_late(operator, "done")
    page = operator.get(of(OPENID))
    for known in (
        OPENID,
        *PROFILE.values(),
        "你好",
        "Answers that wait for the pickup word, or are still being made: 1",
    ):
        assert known in page
    assert not re.search(r"<img|(src|href)=\"https?:", page)


def test_how_many_messages_may_be_sent_is_shown(console: Open, server: WeChatServer) -> None:
    operator = console({"text": remember}, **server.settings)
    with operator.app.app_context():
        log_in()
        operator.account.say("在吗")
        text = operator.text(of(OPENID))
        db.engine.dispose()
    assert re.search(r"sent now: 5\. 5 until 20\d\d-\d\d-\d\d \d\d:\d\d", text)
    assert '<form action="/console/messages"><input type="hidden" name="openid"' in operator.get(of(OPENID))
    assert server.wechat.calls == []


def test_a_deletion_leaves_neither_row_nor_session_nor_answer(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    log_in()
    log_in("oSomebodyElse")
    operator.account.say("a secret")
    answer_late(operator, "an answer")
    caplog.set_level(logging.INFO, "wechat.audit")
    response = operator.post("/fans/delete", 303, openid=OPENID)
    assert "Deleted for good." in operator.text(response.headers["Location"].removeprefix("/console"))
    assert (find_fan(APPID, OPENID), find_fan(APPID, "oSomebodyElse") is None) == (None, False)
    assert operator.account.say("1") == "before: "
    lines = [record for record in caplog.records if record.name == "wechat.audit"]
    assert [line.message for line in lines] == ["delete a fan"]
    assert lines[0].__dict__["fields"] == {"operator": "小王", "from": "127.0.0.1", "openid": "oTes***0000"}
    assert OPENID not in caplog.text


def test_an_answer_waits_until_its_fan_is_deleted(operator: Operator) -> None:
    log_in()
    answer_late(operator, "an answer")
    assert operator.account.say("1") == "an answer"


def test_a_fan_who_is_deleted_is_gone_and_comes_back_anew(operator: Operator) -> None:
    log_in()
    operator.post("/fans/delete", 303, openid=OPENID)
    assert NOBODY in readable(operator.post("/fans/delete", 404, openid=OPENID).text)
    assert NOBODY in operator.get(of(OPENID), 404)
    log_in()
    assert OPENID in operator.get(of(OPENID))


def test_a_handler_that_runs_while_its_fan_is_deleted_brings_no_session_back(console: Open) -> None:
    def delete_meanwhile(message: Any) -> str:
        message.session["said"] = message.content
        opened[0].post("/fans/delete", 303, openid=OPENID)
        return "done"

    opened = [console({("text", "delete"): delete_meanwhile, "text": remember}, WECHAT_APPID=APPID)]
    with opened[0].app.app_context():
        log_in()
    assert opened[0].account.say("delete") == "done"
    assert opened[0].account.say("hi") == "before: "


def test_a_deletion_is_asked_for_with_what_it_means(operator: Operator) -> None:
    log_in()
    page = operator.get(of(OPENID))
    (asked,) = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert f'name="csrf" value="{operator.csrf}"' in asked
    for meaning in ("cannot be undone", "next login", "counts of QR codes hold no openid", "log holds a masked openid"):
        assert meaning in asked
    assert operator.client.post("/console/fans/delete", data={"openid": OPENID}).status_code == 403
    assert find_fan(APPID, OPENID)


def test_a_fan_of_another_account_is_not_there(operator: Operator) -> None:
    log_in(appid="wx0000000000000000")
    assert OPENID not in operator.get("/fans")
    assert OPENID not in operator.get(of(OPENID), 404)
    operator.post("/fans/delete", 404, openid=OPENID)
    assert find_fan("wx0000000000000000", OPENID)


@pytest.mark.parametrize("openid", ["", "a\x00b", "x" * 65, "x" * 5000, "好" * 64, "\udcff", "oNobody"])
def test_who_is_not_there_is_not_found(operator: Operator, openid: str) -> None:
    shown = quote(openid, safe="", errors="surrogateescape")
    assert NOBODY in operator.get(f"/fans?openid={shown}", 404)
    operator.post("/fans/delete", 404, openid=openid.encode(errors="surrogateescape"))


@pytest.mark.parametrize(
    "openid", ["a/b", "a//b", "../console", "%2e", "a?b#c&d=e", '"><i>', "a+b", "好" * 64, "delete"]
)
def test_an_openid_may_be_any_visible_characters(operator: Operator, openid: str) -> None:
    log_in(openid)
    (link,) = re.findall(r'href="/console(/fans\?openid=[^"]+)"', operator.get("/fans"))
    (named,) = re.findall(r"<dt>openid</dt><dd>([^<]*)</dd>", operator.get(link.replace("&amp;", "&")))
    assert readable(named) == openid
    operator.post("/fans/delete", 303, openid=openid)
    assert find_fan(APPID, openid) is None


def test_what_a_fan_calls_themselves_stays_text(operator: Operator) -> None:
    evil = '"><script>alert(1)</script>'
    log_in(nickname=evil, headimgurl="javascript:alert(1)")
    operator.account.say(evil)
    for path in ("/fans", of(OPENID), f"/fans?q={quote(evil)}"):
        page = operator.get(path)
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert 'href="javascript' not in page


def test_a_fan_who_logs_in_while_being_deleted_breaks_nothing(operator: Operator) -> None:
    others = [Operator(operator.account), Operator(operator.account)]
    assert [other.log_in().status_code for other in others] == [302, 302]
    ready = threading.Barrier(3)

    def delete(other: Operator) -> set[int]:
        form = {"csrf": other.csrf, "openid": OPENID}
        ready.wait(10)
        return {other.client.post("/console/fans/delete", data=form, headers=ORIGIN).status_code for _ in range(20)}

    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(delete, other) for other in others]
        ready.wait(10)
        for _ in range(20):
            log_in()
        assert {status for future in ended for status in future.result()} <= {303, 404}
    log_in()
    assert OPENID in operator.get("/fans")


def test_nothing_is_deleted_where_the_cache_fails(console: Open) -> None:
    operator = console(WECHAT_APPID=APPID, WECHAT_CACHE_URL="redis://127.0.0.1:1")
    with operator.app.app_context():
        log_in()
        assert "The cache does not answer: what it holds is not known." in operator.text(of(OPENID))
        assert "The cache fails: nothing was deleted." in operator.post("/fans/delete", 503, openid=OPENID).text
        assert find_fan(APPID, OPENID)
        db.engine.dispose()


def test_a_database_without_tables_is_named(console: Open, tmp_path: Path) -> None:
    operator = console(WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/empty.db")
    for path in ("/fans", of(OPENID)):
        assert "flask db upgrade" in operator.get(path, 503)
    operator.post("/fans/delete", 503, openid=OPENID)


def test_chinese_browsers_get_chinese(operator: Operator) -> None:
    log_in()
    for path, said in (("/fans", "共 1 人，最近登录的在前。"), (of(OPENID), "永久删除"), (of("oX"), "没有这个用户")):
        page = operator.client.get(f"/console{path}", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
        assert said in page
