"""Messages at the console: what may be sent is shown, and each form sends once."""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest

from app.store import db
from tests.actors import OPENID
from tests.console.conftest import ORIGIN, Open, Operator, readable
from tests.wechat_server import WeChatServer

SEND_PATH = "/cgi-bin/message/custom/send"
SECRET = "only the fan may read this"


class Desk:
    """An operator at the page, and a fan at the other end."""

    def __init__(self, operator: Operator, server: WeChatServer) -> None:
        self.operator, self.server = operator, server

    def fan_writes(self) -> None:
        self.server.wechat.heard(OPENID)
        self.operator.account.say("在吗")

    def once(self) -> str:
        """Open the form and return what makes it be sent once."""
        (once,) = re.findall(r'name="once" value="(\w{32})"', self.operator.get(f"/messages?openid={OPENID}"))
        return str(once)

    def send(self, text: str, openid: str = OPENID, status: int = 303, **form: str) -> str:
        """Send a form; return the address that it leads to, or the page that it shows."""
        sent = {"openid": openid, "text": text, "once": form.get("once") or self.once()}
        response = self.operator.post("/messages", status, **sent)
        return response.headers["Location"].removeprefix("/console") if status == 303 else response.text

    def budget(self, text: str = "", openid: str = OPENID) -> str:
        """Return what is shown of the budget while the form is filled in."""
        return readable(self.operator.post("/messages/budget", 200, openid=openid, text=text).text)

    @property
    def got(self) -> list[Any]:
        return [message["text"]["content"] for message in self.server.wechat.messages if message["touser"] == OPENID]


@pytest.fixture
def desk(console: Open, server: WeChatServer) -> Iterator[Desk]:
    operator = console({"text": lambda message: None}, **server.settings)
    yield Desk(operator, server)
    with operator.app.app_context():
        db.engine.dispose()
        operator.app.extensions["wechat_api"].client._http.close()


def kept(page: str) -> str:
    """Return the text that is still in the form."""
    (text,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    return unescape(text)


def test_a_message_reaches_the_fan_and_the_budget_is_counted_down(desk: Desk) -> None:
    desk.fan_writes()
    assert re.search(r"sent now: 5\. 5 until 20\d\d-\d\d-\d\d \d\d:\d\d", desk.budget())
    page = desk.operator.text(desk.send("第一行\r\n第二行 <b>"))
    assert "1 sent." in page
    assert "Messages that may be sent now: 4." in page
    assert desk.got == ["第一行\n第二行 <b>"]


def test_the_page_calls_no_api(desk: Desk) -> None:
    desk.fan_writes()
    desk.operator.get(f"/messages?openid={OPENID}")
    assert "This text takes messages: 1" in desk.budget("你好")
    assert desk.server.wechat.calls == []


def test_both_windows_are_shown_with_their_ends(desk: Desk) -> None:
    desk.fan_writes()
    desk.operator.account.event("CLICK", "A")
    assert re.search(r"sent now: 8\. 3 until \S+ \S+ 5 until \S+ \S+$", desk.budget())


def test_how_many_messages_a_text_takes_is_shown_before_it_is_sent(desk: Desk) -> None:
    desk.fan_writes()
    assert desk.budget("好" * 682).endswith("This text takes messages: 1.")
    assert desk.budget("好" * 683).endswith("This text takes messages: 2.")
    assert "takes messages: 6. That is more than may be sent: nothing would be." in desk.budget("好" * (682 * 5 + 1))
    assert "2 sent." in desk.operator.text(desk.send("好" * 683))
    assert desk.got == ["好" * 682, "好"]


def test_where_no_window_is_known_wechat_decides(desk: Desk) -> None:
    assert "not known" in desk.budget()
    assert "shown here for an openid" in desk.budget(openid="")
    page = desk.send(SECRET, status=200)
    assert "has not written within the last 48 hours" in readable(page)
    assert kept(page) == SECRET
    assert desk.server.calls_of(SEND_PATH) == [45015]


def test_a_window_that_wechat_has_closed_is_shown_as_closed(desk: Desk) -> None:
    desk.fan_writes()
    desk.server.wechat.close_window(OPENID)
    assert "None may be sent now (0): WeChat says" in readable(desk.send(SECRET, status=200))
    assert "None may be sent now (0): WeChat says" in desk.budget()
    desk.fan_writes()
    assert "sent now: 5." in desk.budget()


def test_what_is_used_up_is_said_and_the_text_stays(desk: Desk) -> None:
    desk.fan_writes()
    for _ in range(5):
        desk.send("你好")
    assert "None may be sent now (0): what may follow is used up." in desk.budget()
    page = desk.send(SECRET, status=200)
    assert ("(45047)" in page, kept(page)) == (True, SECRET)
    assert desk.got == ["你好"] * 5


@pytest.mark.parametrize(
    ("errcode", "said"), [(48001, "may not send customer-service messages (48001)"), (40003, "no such openid")]
)
def test_a_refusal_is_said_in_words(desk: Desk, errcode: int, said: str) -> None:
    desk.fan_writes()
    desk.server.wechat.fail(SEND_PATH, errcode=errcode)
    page = desk.send(SECRET, status=200)
    assert (said in readable(page), kept(page)) == (True, SECRET)
    assert "sent now: 5." in desk.budget()


def test_where_wechat_does_not_answer_it_may_have_been_sent(desk: Desk) -> None:
    desk.fan_writes()
    desk.server.wechat.fail(SEND_PATH, "cut")
    page = desk.send(SECRET, status=200)
    assert "may have sent the message: find out before you send it again" in readable(page)
    assert kept(page) == SECRET
    assert "sent now: 4." in desk.budget()
    desk.server.wechat.heal()
    (once,) = re.findall(r'name="once" value="(\w+)"', page)
    desk.send(kept(page), once=once)
    assert desk.got[-1] == SECRET


def test_of_a_text_that_was_sent_in_part_the_rest_stays(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.fan_writes()
    desk.server.wechat.set(limits={SEND_PATH: 1})
    page = desk.send("好" * 683, status=200)
    assert "1 were sent before; what remains stands below." in page
    assert (kept(page), desk.got) == ("好", ["好" * 682])
    lines = [record.__dict__["fields"] for record in caplog.records if record.message == "send a message: failed"]
    assert [(line["messages"], line["errcode"]) for line in lines] == [(1, 45009)]


def test_the_same_form_sends_once(desk: Desk) -> None:
    desk.fan_writes()
    once = desk.once()
    desk.send("你好", once=once)
    page = desk.send("你好", once=once, status=200)
    assert "was not sent again" in page
    assert (desk.got, kept(page)) == (["你好"], "你好")


def test_a_double_click_sends_once(desk: Desk) -> None:
    desk.fan_writes()
    form = {"csrf": desk.operator.csrf, "openid": OPENID, "text": "你好", "once": desk.once()}
    clients = [desk.operator.app.test_client() for _ in range(5)]
    cookie = desk.operator.client.get_cookie(f"wechat_console_{desk.operator.account.settings.appid}", path="/console/")
    assert cookie is not None
    for client in clients:
        client.set_cookie(cookie.key, cookie.value, path="/console/")
    with ThreadPoolExecutor(5) as pool:
        posts = pool.map(
            lambda client: client.post("/console/messages", data=form, headers=ORIGIN).status_code, clients
        )
        assert sorted(posts) == [200] * 4 + [303]
    assert desk.got == ["你好"]


def test_the_button_is_disabled_while_the_form_is_sent(desk: Desk) -> None:
    (form,) = re.findall(r"<form class=\"panel compose\".*?>", desk.operator.get("/messages"), re.DOTALL)
    assert ('hx-disabled-elt="find button"' in form, 'method="post"' in form) == (True, True)


@pytest.mark.parametrize(
    ("openid", "text", "said"),
    [
        ("", "你好", "An openid is 1 to 64 visible characters."),
        ("o" * 65, "你好", "An openid is 1 to 64 visible characters."),
        ("o\x00", "你好", "An openid is 1 to 64 visible characters."),
        ("o p", "你好", "An openid is 1 to 64 visible characters."),
        (OPENID, " \r\n\x00", "There is no text to be sent."),
        (OPENID, "x" * 20000, "The text is longer than 16384 characters."),
    ],
)
def test_a_form_that_cannot_be_sent_is_refused_before_any_call(desk: Desk, openid: str, text: str, said: str) -> None:
    page = desk.send(text, openid, 200)
    assert (said in page, kept(page)) == (True, text.replace("\r\n", "\n").replace("\x00", ""))
    desk.budget(text, openid)
    assert desk.server.wechat.calls == []


def test_what_is_typed_stays_text(desk: Desk) -> None:
    evil = '"></textarea><script>alert(1)</script>'
    desk.fan_writes()
    desk.server.wechat.fail(SEND_PATH, errcode=48001)
    page = desk.send(evil, status=200)
    assert kept(page) == evil
    pages = [page, desk.operator.get(f"/messages?openid={evil}"), desk.send("x", evil, 200)]
    assert not any("<script>" in page for page in pages)


def test_the_log_says_who_sent_how_many_and_never_what(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk.fan_writes()
    desk.send(SECRET)
    desk.server.wechat.fail(SEND_PATH, "cut")
    desk.send(SECRET, status=200)
    lines = [record for record in caplog.records if record.name == "wechat.audit"]
    assert [line.message for line in lines[-2:]] == ["send a message", "send a message: failed"]
    who = {"operator": "小王", "from": "127.0.0.1", "openid": "oTes***0000"}
    assert lines[-2].__dict__["fields"] == {**who, "messages": 1}
    said = [str(vars(record)) for record in caplog.records if record.name.startswith("wechat")]
    assert not [line for line in said if SECRET in line or OPENID in line]


def test_without_the_pages_token_nothing_is_sent(desk: Desk) -> None:
    desk.fan_writes()
    form = {"openid": OPENID, "text": "你好", "once": desk.once()}
    assert desk.operator.client.post("/console/messages", data=form, headers=ORIGIN).status_code == 403
    assert desk.got == []


def test_without_an_account_the_page_says_so(console: Open) -> None:
    operator = console()
    text = operator.text("/messages")
    assert "Without WECHAT_APPID and WECHAT_APPSECRET no message can be sent." in text
    assert "<textarea" not in operator.get("/messages")
    page = operator.post("/messages", 200, openid=OPENID, text="你好", once="x").text
    assert "WECHAT_APPID and WECHAT_APPSECRET missing" in page
    assert kept(page) == "你好"


def test_without_a_database_messages_are_sent(console: Open, server: WeChatServer, tmp_path: Any) -> None:
    operator = console(
        {"text": lambda message: None}, **server.settings, WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/none.db"
    )
    desk = Desk(operator, server)
    desk.fan_writes()
    assert "sent=1" in desk.send("你好")
    operator.app.extensions["wechat_api"].client._http.close()


def test_chinese_browsers_get_chinese(desk: Desk) -> None:
    desk.fan_writes()
    page = desk.operator.client.get(f"/console/messages?openid={OPENID}", headers={"Accept-Language": "zh-CN"}).text
    assert "现在还能发 5 条。" in page
