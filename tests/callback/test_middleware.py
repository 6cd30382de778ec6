"""What goes on around every handler."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from app.callback.middleware import Around, CallNext, after, before, compose
from app.metrics import exposition
from app.once.answer import Answer
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account

MESSAGE = SimpleNamespace(label="17 digits")
Open = Callable[..., Account]
MESSAGES, RUNS, DELIVERIES = "wechat_messages_total", "wechat_handler_seconds_count", "wechat_deliveries_total"
CAME_OF_IT = ("replied", "failed", "silent", "unhandled")


def answer_of(around: list[Around], noted: list[str]) -> str:
    """Run the chain to its end; nothing in it waits."""

    async def innermost(message: Any) -> Answer:
        noted.append("handler")
        return Answer("done", "replied")

    with pytest.raises(StopIteration) as ended:
        compose(around, innermost)(MESSAGE).__await__().send(None)
    return str(ended.value.value.body)


def noting(noted: list[str], name: str) -> Around:
    async def around(message: Any, call_next: CallNext) -> Answer:
        noted.append(f"before {name}")
        answer = await call_next(message)
        noted.append(f"after {name}")
        return answer

    return around


def test_the_first_of_the_list_is_outermost() -> None:
    noted: list[str] = []
    assert answer_of([noting(noted, "a"), noting(noted, "b")], noted) == "done"
    assert noted == ["before a", "before b", "handler", "after b", "after a"]


def test_without_anything_around_it_the_handler_is_all_there_is() -> None:
    noted: list[str] = []
    assert (answer_of([], noted), noted) == ("done", ["handler"])


def test_what_is_noted_is_noted_before_or_after_the_handler() -> None:
    noted: list[str] = []
    around = [after(lambda message: noted.append("after")), before(lambda message: noted.append("before"))]
    assert answer_of(around, noted) == "done"
    assert noted == ["before", "handler", "after"]


@pytest.mark.parametrize("when", [before, after])
def test_what_cannot_be_noted_costs_no_answer_and_is_in_the_log(
    when: Callable[[Any], Around], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(message: Any) -> None:
        raise ValueError("the database is away")

    noted: list[str] = []
    assert (answer_of([when(fails)], noted), noted) == ("done", ["handler"])
    assert "message 17 digits is not noted" in caplog.text
    assert "the database is away" in caplog.text


def counted(name: str, outcome: str) -> float:
    """Return what all figures of this name and outcome amount to."""
    lines = [line for line in exposition().decode().splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'outcome="{outcome}"' in line)


def test_each_message_is_counted_once_by_what_came_of_it_and_each_delivery_by_what_it_got(account: Open) -> None:
    def handler(message: Any) -> str | None:
        if message.content == "raise":
            raise ValueError
        return None if message.content == "silence" else "done"

    kinds = [(name, outcome) for name in (MESSAGES, RUNS, DELIVERIES) for outcome in (*CAME_OF_IT, "repeated")]
    past = {kind: counted(*kind) for kind in kinds}
    opened, message = account({"text": handler}), text_message(OPENID, "hi")
    for _ in range(3):
        opened.deliver(message)
    opened.say("raise")
    opened.say("silence")
    opened.event("CLICK", "V1")
    grown = {kind: counted(*kind) - before for kind, before in past.items()}
    assert {outcome: grown[MESSAGES, outcome] for outcome in CAME_OF_IT} == dict.fromkeys(CAME_OF_IT, 1)
    assert {outcome: grown[RUNS, outcome] for outcome in CAME_OF_IT} == {**dict.fromkeys(CAME_OF_IT, 1), "unhandled": 0}
    assert {outcome: grown[DELIVERIES, outcome] for outcome in CAME_OF_IT} == dict.fromkeys(CAME_OF_IT, 1)
    assert [grown[name, "repeated"] for name in (MESSAGES, RUNS, DELIVERIES)] == [0, 0, 2]
