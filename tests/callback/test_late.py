"""The late way: by a customer-service message, or kept for the pickup word."""

import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app import config
from app.cache import Cache, connect
from app.callback import xml
from app.callback.late import Answer, Late
from app.callback.parse import parse
from app.callback.render import render
from app.callback.watch import Watch
from app.errors import ApiError, BadReply
from app.sandbox.messages import event_message, text_message

FAN = "oFan1"


def parsed(text: str, seconds: float = 1.0) -> Any:
    message = parse(xml.read(text.encode()))
    message._answer_by = time.monotonic() + seconds
    return message


def asked(content: str = "question") -> Any:
    return parsed(text_message(FAN, content))


def answer(value: Any, message: Any) -> Answer:
    return Answer(render(value, message, 1), "replied", "handler", value)


class Account:
    """The late way of an account, with what it sent."""

    def __init__(self, late_reply: str = "auto", *, may_send: bool = True) -> None:
        self.cache: Cache = connect("memory://", "wx0")
        self.watch = Watch(self.cache)
        self.sent: list[tuple[str, Any]] = []
        self.refuses = False
        self.fails_with: ApiError | None = None
        settings = config.Settings(token="token", late_reply=late_reply)
        self.late = Late(settings, self.cache, self.watch, self._send if may_send else None)

    def _send(self, openid: str, reply: Any) -> None:
        if self.refuses:
            raise RuntimeError("48001 api unauthorized")
        if self.fails_with:
            raise self.fails_with
        self.sent.append((openid, reply))

    def says(self, text: str) -> str | None:
        collected = self.late.collect(asked(text))
        found = collected and re.search(r"<Content><!\[CDATA\[(.*?)\]\]>|<(ArticleCount)>1<", collected.xml)
        return found and (found[1] or found[2])


HOLD = config.Settings(token="token").hold_reply


@pytest.mark.parametrize("late_reply", ["auto", "customer_service"])
def test_a_late_answer_is_sent_and_nothing_waits(late_reply: str) -> None:
    account, message = Account(late_reply), asked()
    assert account.late.reply(message) == ""
    account.late.expect("k", message)
    account.late.send("k", message, answer("done", message))
    assert account.sent == [(FAN, "done")]
    assert account.says("1") is None


@pytest.mark.parametrize(
    ("late_reply", "may_send"), [("next_message", True), ("auto", False), ("customer_service", False)]
)
def test_without_a_way_to_send_it_waits_for_the_pickup_word(late_reply: str, may_send: bool) -> None:
    account, message = Account(late_reply, may_send=may_send), asked()
    assert HOLD in account.late.reply(message)
    account.late.expect("k", message)
    account.late.send("k", message, answer("done", message))
    assert account.sent == []
    assert [account.says("1 "), account.says("1")] == ["done", None]


def test_what_cannot_be_sent_waits_and_auto_says_so_to_the_next_fans(caplog: pytest.LogCaptureFixture) -> None:
    account, message = Account(), asked()
    account.refuses = True
    account.late.send("k", message, answer("done", message))
    assert account.says("1") == "done"
    assert HOLD in account.late.reply(message)
    assert "the customer-service message failed" in caplog.text


@pytest.mark.parametrize(
    ("errcode", "next_one_is_sent"),
    [
        (45015, True),
        (45047, True),
        (43004, True),
        (40003, True),
        (40007, True),
        (48001, False),
        (40164, False),
        (None, False),
    ],
)
def test_what_only_this_fan_cannot_get_closes_the_way_for_nobody_else(
    errcode: int | None, next_one_is_sent: bool
) -> None:
    account, message = Account(), asked()
    account.fails_with = ApiError(errcode, "no")
    account.late.send("k", message, answer("done", message))
    account.fails_with = None
    assert account.says("1") == "done"
    assert (account.late.reply(message) == "") is next_one_is_sent


def test_of_an_answer_that_was_sent_in_part_only_the_rest_waits() -> None:
    account, message = Account(), asked()
    account.fails_with = ApiError(45047, "no")
    account.fails_with.unsent = "the rest"
    account.late.send("k", message, answer("the beginning and the rest", message))
    assert [account.says("1"), account.says("1")] == ["the rest", None]


def test_answers_come_in_the_order_in_which_they_were_asked() -> None:
    account = Account("next_message")
    messages = [asked(str(number)) for number in range(3)]
    for number, message in enumerate(messages):
        account.late.expect(f"k{number}", message)
    for number in (2, 0, 1):
        account.late.send(f"k{number}", messages[number], answer(f"answer {number}", messages[number]))
    assert [account.says("1") for _ in range(4)] == ["answer 0", "answer 1", "answer 2", None]


def test_the_word_said_too_early_waits_for_the_answer_and_then_says_that_it_is_late() -> None:
    account, message = Account("next_message"), asked()
    account.late.expect("k", message)
    assert account.says("1") == HOLD
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(account.says, "1")
        account.late.send("k", message, answer("done", message))
        assert early.result() == "done"


def test_a_handler_that_returned_none_leaves_nothing_to_wait_for() -> None:
    account, message = Account("next_message"), asked()
    account.late.expect("k", message)
    account.late.send("k", message, answer(None, message))
    assert account.says("1") is None


def test_only_the_word_and_only_this_fan_collects() -> None:
    account, message = Account("next_message"), asked()
    account.late.send("k", message, answer("done", message))
    assert account.says("11") is None
    assert account.late.collect(parsed(text_message("oFan2", "1"))) is None
    assert account.late.collect(parsed(event_message(FAN, "CLICK", "1"))) is None
    assert account.says("1") == "done"


def test_eight_articles_for_an_event_are_one_for_the_word() -> None:
    account, click = Account("next_message"), parsed(event_message(FAN, "CLICK", "K"))
    account.late.send("k", click, answer([{"title": "one"}, {"title": "two"}], click))
    assert account.says("1") == "ArticleCount"


def test_two_words_at_once_get_two_answers() -> None:
    account = Account("next_message")
    for number in range(8):
        account.late.send(f"k{number}", asked(), answer(f"answer {number}", asked()))
    with ThreadPoolExecutor(8) as pool:
        collected = list(pool.map(account.says, ["1"] * 8))
    assert sorted(collected, key=str) == [f"answer {number}" for number in range(8)]


def test_a_cache_that_is_away_for_a_moment_costs_no_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.late._KEEP_APART_SECONDS", 0)
    account, message = Account("next_message"), asked()
    take, tries = account.cache._set, itertools.count()
    account.cache._set = lambda *given: next(tries) >= 5 and take(*given)
    account.late.send("k", message, answer("done", message))
    assert account.says("1") == "done"
    assert "lost" not in caplog.text


def test_a_cache_that_does_not_take_it_is_said_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.late._KEEP_APART_SECONDS", 0)
    account, message = Account("next_message"), asked()
    account.cache._set = lambda *_: False
    account.late.send("k", message, answer("done", message))
    assert "a late answer is lost" in caplog.text


def test_a_fan_who_unsubscribes_leaves_nothing_waiting() -> None:
    account, message = Account("next_message"), asked()
    account.late.send("k", message, answer("done", message))
    account.late.forget(FAN)
    assert account.says("1") is None
    assert account.cache.get("k:late") is None


def test_what_cannot_be_sent_as_such_a_message_waits_and_closes_the_way_for_nobody() -> None:
    account, message = Account(), asked()
    account.late._send_late = lambda openid, reply: contents_of(42)
    account.late.send("k", message, answer("done", message))
    assert account.says("1") == "done"
    assert account.late.reply(message) == ""


def contents_of(value: int) -> None:
    raise BadReply(f"{value} cannot be sent")


def test_a_fan_who_left_while_the_handler_ran_gets_nothing() -> None:
    for late_reply in ("customer_service", "next_message"):
        account, message = Account(late_reply), asked()
        account.late.expect("k", message)
        account.late.forget(FAN)
        account.late.send("k", message, answer("done", message))
        assert account.sent == []
        assert account.says("1") is None
