from typing import Any

import pytest

from app.cache import Cache, connect
from app.callback import xml
from app.callback.delivery import Answer, Rendezvous, identity
from app.callback.parse import parse
from app.sandbox.phone import event_message, text_message


def parsed(text: str) -> Any:
    return parse(xml.read(text.encode()))


TEXT = text_message("oFan1", "hi")
CLICK = event_message("oFan1", "CLICK", "V1")


@pytest.fixture
def cache() -> Cache:
    return connect("memory://", "")


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
    rendezvous = Rendezvous(cache, 600, 3)
    answers = [rendezvous.answer(parsed(message), run_counting(runs)) for _ in range(5)]
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

    rendezvous = Rendezvous(cache, 600, 3)
    answers = [rendezvous.answer(parsed(TEXT), silent)[0] for _ in range(2)]
    assert [answer.outcome for answer in answers] == ["silent", "repeated"]
    assert runs == ["ran"]


def test_a_cache_that_takes_nothing_costs_deduplication_and_no_answer(cache: Cache, runs: list[str]) -> None:
    cache.add = lambda *_: False
    cache.set = lambda *_: None
    rendezvous = Rendezvous(cache, 600, 3)
    answers = [rendezvous.answer(parsed(TEXT), run_counting(runs))[0].xml for _ in range(2)]
    assert answers == ["<xml>1</xml>", "<xml>2</xml>"]


def test_an_answer_that_the_cache_has_no_room_for_is_made_again(cache: Cache, runs: list[str]) -> None:
    cache.set = lambda *_: None
    rendezvous = Rendezvous(cache, 600, 3)
    answers = [rendezvous.answer(parsed(TEXT), run_counting(runs))[0].xml for _ in range(2)]
    assert answers == ["<xml>1</xml>", "<xml>2</xml>"]


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (TEXT, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (TEXT, ("<MsgId><![CDATA[", "<MsgId><![CDATA[9")),
        (CLICK, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (CLICK, ("<CreateTime><![CDATA[", "<CreateTime><![CDATA[9")),
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
