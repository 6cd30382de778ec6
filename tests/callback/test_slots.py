import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.callback.slots import Slots
from app.errors import Busy
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import wait_for


def test_half_of_the_threads_run_handlers_and_one_row_gets_nine_tenths_of_them() -> None:
    assert [(Slots(threads).most, Slots(threads).most_of_one) for threads in (1, 2, 20, 1500)] == [
        (1, 1),
        (1, 1),
        (10, 9),
        (750, 675),
    ]


def test_what_can_wait_takes_no_more_than_half_of_the_slots() -> None:
    slots, seen = Slots(20), []

    def fill(row: Any, message: Any) -> None:
        seen.append((slots.has_room_beside("slow"), slots.has_room_beside("quick")))
        if len(seen) < 6:
            slots.call("slow", fill, None)

    slots.call("slow", fill, None)
    assert seen == [(True, True)] * 4 + [(False, False)] * 2
    assert slots.has_room_beside("slow")


@pytest.fixture
def full() -> Any:
    """Return slots whose row "slow" is full, and the event that ends its handlers."""
    slots, end, started = Slots(20), threading.Event(), []

    def run(handler: Any, message: Any) -> None:
        started.append(handler)
        end.wait(10)

    with ThreadPoolExecutor(20) as pool:
        running = [pool.submit(slots.call, "slow", run, None) for _ in range(9)]
        wait_for(lambda: len(started) == 9)
        yield slots, end, running
        end.set()


def test_past_the_bound_a_row_is_busy_and_another_one_is_not(full: Any) -> None:
    slots, end, running = full
    with pytest.raises(Busy):
        slots.call("slow", lambda *_: None, None)
    assert slots.call("quick", lambda *_: "done", None) == "done"
    end.set()
    assert [future.result() for future in running] == [None] * 9
    assert slots.call("slow", lambda *_: "done", None) == "done"


def test_a_handler_that_raises_gives_its_slot_back() -> None:
    slots = Slots(2)

    def broken(handler: Any, message: Any) -> None:
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011
            slots.call("row", broken, None)


def test_a_fan_too_many_gets_the_busy_reply_and_gets_it_again(
    account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app._THREADS_ELSEWHERE", 2)
    started, end = threading.Event(), threading.Event()

    def slow(message: Any) -> str:
        started.set()
        end.wait(4)
        return "done"

    opened = account({"text": slow}, WECHAT_BUSY_REPLY="busy")
    second = text_message(OPENID, "second")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(opened.say, "first")
        assert started.wait(4)
        assert [opened.deliver(second), opened.deliver(second)] == ["busy", "busy"]
        end.set()
        assert first.result() == "done"
    assert opened.say("third") == "done"


def test_a_callable_without_a_hash_has_a_bound_too(account: Callable[..., Account]) -> None:
    class Echo(list[str]):
        def __call__(self, message: Any) -> str:
            return str(message.content)

    assert account({"text": Echo()}).say("hi") == "hi"
