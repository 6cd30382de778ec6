import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import current_app

from app import config
from app.cache import Cache, connect
from app.callback import xml
from app.callback.delivery import Rendezvous, identity
from app.callback.late import Answer, Late
from app.callback.parse import parse
from app.callback.watch import Watch
from app.sandbox.messages import event_message, text_message
from tests.actors import OPENID, Account


def parsed(text: str) -> Any:
    return parse(xml.read(text.encode()))


TEXT = text_message("oFan1", "hi")
CLICK = event_message("oFan1", "CLICK", "V1")


@pytest.fixture
def cache() -> Cache:
    return connect("memory://", "")


def rendezvous_on(cache: Cache) -> Rendezvous:
    watch = Watch(cache)
    settings = config.Settings(token="token")
    return Rendezvous(cache, watch, Late(settings, cache, watch, None), 3, 600)


@pytest.fixture
def runs() -> list[str]:
    return []


def run_counting(runs: list[str]) -> Any:
    def run(message: Any) -> Answer:
        runs.append(message.openid)
        return Answer(f"<xml>{len(runs)}</xml>", "replied", "handler")

    return run


@pytest.mark.parametrize("message", [TEXT, CLICK], ids=["message", "event"])
def test_the_handler_runs_once_and_deliveries_are_counted(cache: Cache, runs: list[str], message: str) -> None:
    rendezvous = rendezvous_on(cache)
    answers = [rendezvous.answer(parsed(message), run_counting(runs), time.monotonic()) for _ in range(5)]
    assert [(answer.xml, answer.outcome, delivery) for answer, delivery in answers] == [
        ("<xml>1</xml>", "replied", 1),
        ("<xml>1</xml>", "repeated", 2),
        ("<xml>1</xml>", "repeated", 3),
        ("<xml>1</xml>", "repeated", 4),
        ("<xml>1</xml>", "repeated", 4),
    ]
    assert runs == ["oFan1"]


def test_silence_is_an_answer_too(cache: Cache, runs: list[str]) -> None:
    def silent(message: Any) -> Answer:
        runs.append("ran")
        return Answer("", "silent")

    rendezvous = rendezvous_on(cache)
    answers = [rendezvous.answer(parsed(TEXT), silent, time.monotonic())[0] for _ in range(2)]
    assert [answer.outcome for answer in answers] == ["silent", "repeated"]
    assert runs == ["ran"]


def test_a_cache_that_takes_nothing_costs_deduplication_and_no_answer(cache: Cache, runs: list[str]) -> None:
    cache.add = lambda *_: False
    rendezvous = rendezvous_on(cache)
    answers = [rendezvous.answer(parsed(TEXT), run_counting(runs), time.monotonic())[0].xml for _ in range(2)]
    assert answers == ["<xml>1</xml>", "<xml>2</xml>"]


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (TEXT, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (TEXT, ("<MsgId>", "<MsgId>9")),
        (CLICK, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (CLICK, ("<CreateTime>", "<CreateTime>9")),
        (CLICK, ("CLICK", "VIEW")),
        (CLICK, ("V1", "V2")),
    ],
)
def test_another_message_is_known_by_what_the_contract_names(message: str, change: tuple[str, str]) -> None:
    changed = message.replace(*change)
    assert changed != message
    assert identity(parsed(changed)) != identity(parsed(message))


def test_a_message_is_the_same_whatever_else_is_in_it() -> None:
    assert identity(parsed(TEXT.replace("hi", "ho"))) == identity(parsed(TEXT))


def test_the_last_delivery_is_answered_in_time_and_the_handler_goes_on_within_the_application(
    account: Callable[..., Account],
) -> None:
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


def test_a_handler_is_told_how_long_its_delivery_can_wait(account: Callable[..., Account]) -> None:
    opened = account({"text": lambda message: f"{message.deadline:.1f}"})
    assert opened.say("hi") in ("4.4", "4.5")
    query, body = opened.phone.envelope(text_message(OPENID, "stood in a queue"))
    waited = {"RECEIVED_AT": str(time.time() - 3)}
    reply = opened.client.post("/wechat", query_string=query, data=body, environ_overrides=waited)
    assert opened.phone.judge(reply.data).shown in ("1.4", "1.5")


def test_a_delivery_that_waited_until_wechat_hung_up_is_left_to_the_next_one(account: Callable[..., Account]) -> None:
    runs: list[str] = []

    def run(message: Any) -> str:
        runs.append("run")
        return "done"

    opened = account({"text": run})
    message = text_message(OPENID, "hi")
    for _ in range(2):
        query, body = opened.phone.envelope(message)
        waited = {"RECEIVED_AT": str(time.time() - 6)}
        reply = opened.client.post("/wechat", query_string=query, data=body, environ_overrides=waited)
        assert (reply.status_code, reply.data, runs) == (200, b"success", [])
    assert opened.deliver(message) == "done"
    assert runs == ["run"]
