"""Step 4, through the door: what a handler is told, and what stands in for its answer."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from flask import current_app
from wechatpy.replies import ArticlesReply, TextReply

from app import config
from app.cache import connect
from app.callback import xml
from app.callback.handle import AnswerMaker, Wording
from app.callback.parse import parse
from app.once.answer import Answer
from app.once.late import LateDelivery
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from app.table.dispatch import Table
from tests.actors import OPENID, Account

Open = Callable[..., Account]


def shown_after(opened: Account, message: str, queue_seconds: float) -> str:
    """Deliver a message that stood in a queue for so long, and return what the fan sees."""
    query, body = opened.phone.envelope(message)
    waited = {"RECEIVED_AT": str(time.time() - queue_seconds)}
    reply = opened.client.post("/wechat", query_string=query, data=body, environ_overrides=waited)
    return opened.phone.judge(reply.data).shown


def test_a_handler_is_told_how_long_its_delivery_can_wait(account: Open) -> None:
    opened = account({"text": lambda message: f"{message.deadline:.1f}"})
    assert opened.say("hi") in ("4.4", "4.5")
    assert shown_after(opened, text_message(OPENID, "stood in a queue"), 3) in ("1.4", "1.5")


def test_the_last_delivery_is_answered_in_time_and_the_handler_goes_on_within_the_application(account: Open) -> None:
    end = threading.Event()

    def slow(message: Any) -> str:
        end.wait(20)
        return str(current_app.config["WECHAT_DEFAULT_REPLY"])

    opened = account({"text": slow}, WECHAT_DELIVERIES="1", WECHAT_DEFAULT_REPLY="done")
    started = time.monotonic()
    assert opened.say("hi") == opened.settings.hold_reply
    assert 4 < time.monotonic() - started < 5
    assert opened.say("1") == opened.settings.hold_reply  # too early
    end.set()
    assert opened.say("1") == "done"


def with_a_late_answer(account: Open, **settings: str) -> Account:
    """Return an account in which an answer waits for the fan, who has been told so at once."""
    end = threading.Event()

    def slow(message: Any) -> str | None:
        if message.content != "question":
            return f"heard {message.content}"
        end.wait(20)
        return "done"

    opened = account({"text": slow, "event": lambda message: "clicked"}, WECHAT_DELIVERIES="1", **settings)
    assert shown_after(opened, text_message(OPENID, "question"), 4.4) == opened.settings.hold_reply
    end.set()
    return opened


class Unlike(str):
    """A text that cannot be copied."""

    def __deepcopy__(self, _: Any) -> str:
        raise TypeError("not this one")


@pytest.mark.parametrize(
    ("value", "change", "shown"),
    [
        ([{"title": "one"}], lambda value: value.append(1) or value.insert(0, "x"), "[图文] one"),
        ([{"title": "one"}], lambda value: value.clear(), "[图文] one"),
        ([{"title": "one"}], lambda value: value[0].update(price=3), "[图文] one"),
        (({"title": "one"},), lambda value: value[0].clear(), "[图文] one"),
        (TextReply(content="one"), lambda value: value._data.update(Content=7), "one"),
        (ArticlesReply(articles=[{"title": "one"}]), lambda value: value._data["Articles"].clear(), "[图文] one"),
        ([{"title": Unlike("one")}], lambda value: None, "[图文] one"),
    ],
)
def test_what_a_handler_changes_after_it_has_returned_it_changes_no_late_answer(
    value: Any, change: Callable[[Any], object], shown: str
) -> None:
    settings, cache = config.Settings(token="token"), connect("memory://", "wx0")
    wording = Wording(settings)
    late = LateDelivery(settings, cache, wording, None)
    maker = AnswerMaker(settings, cache, Table({"text": lambda message: value}), late, [], nullcontext)
    message = maker.begin(xml.read(text_message(OPENID, "question").encode()), time.monotonic())
    with pytest.raises(StopIteration) as ended:
        maker.answer(message).send(None)
    change(value)
    body = wording.to_pick_up(message, ended.value.value)
    assert Phone("", "token", OPENID).judge(body.encode()).shown == shown


@pytest.mark.parametrize("said", ["1", " 1 "])
def test_the_pickup_word_collects_a_late_answer_once(account: Open, said: str) -> None:
    opened = with_a_late_answer(account)
    assert [opened.say(said), opened.say("1")] == ["done", "heard 1"]


def test_nothing_but_the_word_collects_and_only_the_fan_who_asked(account: Open) -> None:
    opened = with_a_late_answer(account)
    other = opened.another_fan("oAnotherFan0000000000000000")
    assert opened.say("11") == "heard 11"
    assert opened.event("CLICK", "1") == "clicked"
    assert opened.deliver(text_message("oAnotherFan0000000000000000", "1"), other) == "heard 1"
    assert opened.say("1") == "done"


def test_the_pickup_word_is_a_setting(account: Open) -> None:
    opened = with_a_late_answer(account, WECHAT_PICKUP_WORD="结果")
    assert [opened.say("1"), opened.say("结果")] == ["heard 1", "done"]


def test_a_fan_who_leaves_leaves_no_answer_waiting(account: Open) -> None:
    opened = with_a_late_answer(account)
    opened.event("unsubscribe")
    assert opened.say("1") == "heard 1"


def test_eight_articles_for_an_event_are_one_for_the_word() -> None:
    articles = [{"title": "one"}, {"title": "two"}]
    click = parse(xml.read(event_message(OPENID, "CLICK", "K").encode()))
    body = Wording(config.Settings(token="token")).to_pick_up(click, Answer("", "replied", value=articles))
    assert xml.read_strictly(body.encode())["ArticleCount"] == "1"


def test_an_answer_of_which_only_the_xml_is_known_is_picked_up_as_it_is() -> None:
    message = parse(xml.read(text_message(OPENID, "hi").encode()))
    assert Wording(config.Settings(token="token")).to_pick_up(message, Answer("<xml/>", "late")) == "<xml/>"


def test_a_fan_too_many_gets_the_busy_reply_and_gets_it_again(account: Open) -> None:
    started, end = threading.Event(), threading.Event()

    def slow(message: Any) -> str:
        started.set()
        end.wait(4)
        return "done"

    opened = account({"text": slow, "image": slow}, WECHAT_BUSY_REPLY="busy", WECHAT_HANDLERS_AT_ONCE="1")
    second = text_message(OPENID, "second")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(opened.say, "first")
        assert started.wait(4)
        assert [opened.deliver(second), opened.deliver(second)] == ["busy", "busy"]
        end.set()
        assert first.result() == "done"
    assert [opened.deliver(second), opened.say("third")] == ["busy", "done"]


def test_a_callable_without_a_hash_is_a_handler_too(account: Open) -> None:
    class Echo(list[str]):
        def __call__(self, message: Any) -> str:
            return str(message.content)

    assert account({"text": Echo()}).say("hi") == "hi"


def test_a_session_is_not_kept_by_a_handler_that_fails_or_returns_no_reply(account: Open) -> None:
    def counts(message: Any) -> Any:
        message.session["said"] = [*message.session.get("said", []), message.content]
        if message.content == "raise":
            raise ValueError
        return 42 if message.content == "42" else ",".join(message.session["said"])

    opened = account({"text": counts})
    said = [opened.say(word) for word in ("a", "raise", "42", "b")]
    assert said == ["a", opened.settings.error_reply, opened.settings.error_reply, "a,b"]
