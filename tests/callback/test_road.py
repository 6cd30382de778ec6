"""One answer per message, through the door: what each delivery gets, and what the log says of it."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.sandbox.messages import event_message, text_message
from tests.actors import OPENID, Account
from tests.servers import wait_for

Open = Callable[..., Account]


class Counting:
    """A handler that counts its runs."""

    def __init__(self, answer: str | None = "done") -> None:
        self.runs = 0
        self._answer = answer

    def __call__(self, message: Any) -> str | None:
        self.runs += 1
        return self._answer and f"{self._answer} {self.runs}"


def after_a_queue(opened: Account, message: str, seconds: float) -> TestResponse:
    query, body = opened.phone.envelope(message)
    waited = {"RECEIVED_AT": str(time.time() - seconds)}
    return opened.client.post("/wechat", query_string=query, data=body, environ_overrides=waited)


@pytest.mark.parametrize(
    "message", [text_message(OPENID, "hi"), event_message(OPENID, "CLICK", "V1")], ids=["message", "event"]
)
def test_the_handler_runs_once_and_deliveries_are_counted(
    account: Open, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = Counting()
    opened = account({"*": handler})
    assert [opened.deliver(message) for _ in range(5)] == ["done 1"] * 5
    lines = re.findall(r"delivery=(\d) outcome=(\w+)", capfd.readouterr().err)
    assert lines == [("1", "replied"), *((number, "repeated") for number in "2344")]
    assert handler.runs == 1


def test_silence_is_an_answer_too(account: Open, capfd: pytest.CaptureFixture[str]) -> None:
    handler, message = Counting(None), text_message(OPENID, "hi")
    opened = account({"text": handler})
    assert [opened.deliver(message) for _ in range(2)] == ["", ""]
    assert re.findall(r"outcome=(\w+)", capfd.readouterr().err) == ["silent", "repeated"]
    assert handler.runs == 1


def test_a_cache_that_takes_nothing_costs_deduplication_and_no_answer(
    account: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.backends._MemoryCache.add", lambda *_: False, raising=False)
    handler, message = Counting(), text_message(OPENID, "hi")
    opened = account({"text": handler})
    assert [opened.deliver(message) for _ in range(2)] == ["done 1", "done 2"]
    assert "the cache fails, and messages may be handled twice" in caplog.text


@pytest.mark.parametrize("seconds", [4.6, 6, 60])
def test_what_stood_in_a_queue_until_wechat_may_have_hung_up_is_left_to_the_next_delivery(
    account: Open, seconds: float
) -> None:
    handler, message = Counting(), text_message(OPENID, "hi")
    opened = account({"text": handler})
    for _ in range(2):
        reply = after_a_queue(opened, message, seconds)
        assert (reply.status_code, reply.data) == (503, b"")  # not "success": WeChat delivers again
    assert (opened.deliver(message), handler.runs) == ("done 1", 1)


def test_the_last_delivery_is_answered_however_long_it_stood_in_a_queue(account: Open) -> None:
    handler = Counting()
    opened = account({"text": handler}, WECHAT_DELIVERIES="1")
    reply = after_a_queue(opened, text_message(OPENID, "hi"), 6)
    assert opened.phone.judge(reply.data).shown in ("done 1", opened.settings.hold_reply)
    assert handler.runs == 1


def test_an_answer_that_no_delivery_could_take_goes_the_late_way(
    account: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.once.endings.NEXT_DELIVERY_SECONDS", 0)
    handler = Counting()
    opened = account({("text", "hi"): handler})
    assert after_a_queue(opened, text_message(OPENID, "hi"), 6).status_code == 503
    assert wait_for(lambda: opened.say("1"), 5) == "done 1"
    assert handler.runs == 1


def test_an_answer_that_comes_when_its_caller_may_have_hung_up_waits_for_the_next_delivery(account: Open) -> None:
    """Its caller cannot be seen here: the deliveries come through the test client."""

    def takes_its_time(message: Any) -> str:
        wait_for(lambda: message.deadline == 0)
        return "done"

    opened, message = account({"text": takes_its_time}), text_message(OPENID, "hi")
    reply = after_a_queue(opened, message, 4.4)
    assert (reply.status_code, reply.data) == (503, b"")
    assert opened.deliver(message) == "done"
