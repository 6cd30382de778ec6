"""``async def`` handlers, through the door, and what each kind of handler finds in each place where it runs."""

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import current_app, request

from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import wait_for

Open = Callable[..., Account]
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")
# A handler runs inline at the first deliveries, and in a thread at the last one.
PLACES = {"inline": "3", "thread": "1", "loop": "3", "loop at the last delivery": "1"}


def in_place(place: str, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``handler`` as what runs in this place."""

    async def on_loop(message: Any) -> Any:
        await asyncio.sleep(0)
        return handler(message)

    return on_loop if place.startswith("loop") else handler


@pytest.fixture(params=PLACES)
def say(request: pytest.FixtureRequest, account: Open) -> Callable[..., str]:
    """Return a function that lets a handler answer in each of the places: ``say(handler, "hi")``."""

    def answer(handler: Callable[[Any], Any], text: str = "hi") -> str:
        opened = account({"text": in_place(request.param, handler)}, WECHAT_DELIVERIES=PLACES[request.param])
        opened.app.before_request(lambda: WHO.set("the request") and None)
        return opened.say(text)

    return answer


def test_it_runs_where_it_should(say: Callable[..., str], request: pytest.FixtureRequest) -> None:
    name = say(lambda message: threading.current_thread().name)
    place = request.node.callspec.params["say"]
    assert name == {"inline": "MainThread", "thread": "handler"}.get(place, "loop")


def test_it_answers_once_where_it_forks_and_comes_back_in_both_processes(
    say: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    children: list[int] = []

    def forks(message: Any) -> str:
        if child := os.fork():
            children.append(child)
            return "parent"
        return "child"

    assert say(forks) == "parent"
    assert wait_for(lambda: os.waitpid(children[0], os.WNOHANG)[0]) == children[0]
    assert "its child came back from it" in capfd.readouterr().err


def test_its_value_is_the_reply(say: Callable[..., str]) -> None:
    assert say(lambda message: f"{message.content}!", "你好") == "你好!"


def test_it_knows_how_long_its_delivery_can_wait(say: Callable[..., str]) -> None:
    assert say(lambda message: f"{message.deadline:.0f}") == "4"


def test_it_has_the_application(say: Callable[..., str]) -> None:
    assert say(lambda message: current_app.config["WECHAT_PATH"]) == "/wechat"


def test_it_sees_the_context_variables_of_its_request(say: Callable[..., str]) -> None:
    assert say(lambda message: f"{WHO.get()}") == "the request"


@pytest.mark.parametrize("place", PLACES)
def test_it_has_the_fans_session(account: Open, place: str) -> None:
    def counts(message: Any) -> str:
        message.session["count"] = message.session.get("count", 0) + 1
        return str(message.session["count"])

    opened = account({"text": in_place(place, counts)}, WECHAT_DELIVERIES=PLACES[place])
    assert [opened.say("hi") for _ in range(3)] == ["1", "2", "3"]


class Stop(SystemExit):
    """A handler that calls sys.exit."""


ERRORS = [ValueError("x"), RecursionError(), Stop(3), StopIteration(), asyncio.CancelledError(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_it_raises_is_answered_with_the_error_reply_and_the_next_message_as_ever(
    say: Callable[..., str], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Any) -> str:
        if message.content == "raise":
            raise error
        return "done"

    assert say(broken, "raise") == "出了点问题，请稍后再试"
    assert " failed on message " in caplog.text
    assert say(broken) == "done"


def test_a_value_that_is_no_reply_is_an_error_that_says_what_is_expected(
    say: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    assert say(lambda message: 42) == "出了点问题，请稍后再试"
    assert "returned int; expected a str, a wechatpy reply" in caplog.text


def test_none_is_silence(say: Callable[..., str]) -> None:
    assert say(lambda message: None) == ""


def test_an_object_whose_call_is_async_is_an_async_handler(account: Open) -> None:
    class Echo:
        async def __call__(self, message: Any) -> str:
            return f"{message.content} from {threading.current_thread().name}"

    assert account({"text": Echo()}).say("hi") == "hi from loop"


def test_an_async_handler_for_an_event_and_a_plain_one_for_text_live_together(account: Open) -> None:
    async def welcome(message: Any) -> str:
        return "welcome"

    opened = account({("event", "subscribe"): welcome, "text": lambda message: "text"})
    assert [opened.event("subscribe"), opened.say("hi")] == ["welcome", "text"]


def test_hundreds_of_conversations_wait_on_the_loop_and_nobody_waits_for_them(account: Open) -> None:
    began, everybody = time.monotonic(), threading.Semaphore(0)

    async def slow(message: Any) -> str:
        everybody.release()
        await asyncio.sleep(1)
        return "done"

    opened = account({"text": slow, "event": lambda message: "quick"})
    shown: list[str] = []
    fans = [threading.Thread(target=lambda: shown.append(opened.say("hi"))) for _ in range(100)]
    for fan in fans:
        fan.start()
    for _ in fans:
        assert everybody.acquire(timeout=5)
    assert opened.event("CLICK", "V1") == "quick"
    for fan in fans:
        fan.join()
    assert shown == ["done"] * 100
    assert time.monotonic() - began < 5


def test_a_redelivery_waits_for_the_coroutine_and_it_runs_once(account: Open) -> None:
    runs: list[str] = []
    started, finish = threading.Event(), threading.Event()

    async def slow(message: Any) -> str:
        runs.append("run")
        started.set()
        await asyncio.to_thread(finish.wait, 10)
        return "at last"

    opened, message, shown = account({"text": slow}), text_message(OPENID, "hi"), []
    fans = [threading.Thread(target=lambda: shown.append(opened.deliver(message))) for _ in range(2)]
    fans[0].start()
    assert started.wait(5)
    fans[1].start()
    finish.set()
    for fan in fans:
        fan.join()
    assert (shown, runs) == (["at last", "at last"], ["run"])


def test_a_coroutine_that_is_late_gets_the_hold_reply_and_is_picked_up(account: Open) -> None:
    finish = threading.Event()

    async def slow(message: Any) -> str:
        await asyncio.to_thread(finish.wait, 20)
        return "done"

    opened = account({"text": slow}, WECHAT_DELIVERIES="1")
    assert opened.say("hi") == opened.settings.hold_reply
    finish.set()
    assert opened.say("1") == "done"


def test_a_handler_that_blocks_the_loop_is_named_in_the_log(account: Open, caplog: pytest.LogCaptureFixture) -> None:
    async def asks_a_slow_model(message: Any) -> str:
        until = time.monotonic() + 5
        while "blocks the event loop" not in caplog.text and time.monotonic() < until:
            time.sleep(0.05)  # as requests.get would
        return "done"

    assert account({"text": asks_a_slow_model}).say("hi") == "done"
    assert "asks_a_slow_model blocks the event loop" in caplog.text
    assert "as requests.get would" in caplog.text


def test_a_handler_sees_its_request_while_that_lasts(account: Open) -> None:
    assert account({"text": lambda message: request.path}).say("hi") == "/wechat"
