"""The event loop of a process."""

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue, SimpleQueue
from typing import Any

import pytest

from app.once.loop import Loop, Outcome
from tests.servers import wait_for

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return a loop on which nothing is left when the test ends."""
    running = Loop()
    yield running
    running.cut(1)


async def returning(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


async def raising(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def outcome_of(loop: Loop, coroutine: Any) -> Outcome:
    outcomes: Queue[Outcome] = Queue()
    loop.start(coroutine, "handler", outcomes.put)
    return outcomes.get(timeout=5)


def test_a_coroutine_comes_to_its_value(loop: Loop) -> None:
    assert outcome_of(loop, returning(42)) == (42, None)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_a_coroutine_raises_is_its_outcome_and_ends_no_loop(loop: Loop, error: BaseException) -> None:
    assert outcome_of(loop, raising(error)).error is error
    assert outcome_of(loop, returning(42)) == (42, None)


def test_all_coroutines_of_a_process_run_in_one_thread_at_once(loop: Loop) -> None:
    outcomes: Queue[Outcome] = Queue()
    meeting = loop.value_of(made(lambda: asyncio.Barrier(100)))

    async def meets() -> int:
        await meeting.wait()
        return threading.get_ident()

    for _ in range(100):
        loop.start(meets(), "handler", outcomes.put)
    threads = {outcomes.get(timeout=5).value for _ in range(100)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def made(make: Callable[[], Any]) -> Any:
    return make()


def test_a_plain_function_waits_for_a_value_and_gets_what_was_raised(loop: Loop) -> None:
    assert loop.value_of(returning(42)) == 42
    with pytest.raises(ValueError, match="whatever"):
        loop.value_of(raising(ValueError("whatever")))


def test_a_context_variable_is_seen_on_the_loop_and_what_is_set_there_stays_there(loop: Loop) -> None:
    async def exchanged() -> str:
        before = WHO.get()
        WHO.set("the coroutine")
        return before

    WHO.set("the caller")
    assert loop.value_of(exchanged()) == "the caller"
    assert WHO.get() == "the caller"
    outcomes: Queue[Outcome] = Queue()
    context = contextvars.copy_context()
    loop.start(exchanged(), "handler", outcomes.put, context)
    assert outcomes.get(timeout=5).value == "the caller"


def test_many_calls_of_to_thread_wait_for_nobody(loop: Loop) -> None:
    meeting = threading.Barrier(50)

    async def all_meet() -> None:
        await asyncio.gather(*(asyncio.to_thread(meeting.wait, 5) for _ in range(50)))

    loop.value_of(all_meet())


async def blocking(end: "SimpleQueue[None]") -> None:
    end.get(timeout=20)  # the line that blocks


@pytest.fixture
def end() -> Iterator["SimpleQueue[None]"]:
    """Return what a coroutine waits for without await."""
    queue: SimpleQueue[None] = SimpleQueue()
    yield queue
    queue.put(None)


def test_who_blocks_the_loop_is_named_once_with_the_line(
    loop: Loop, end: "SimpleQueue[None]", caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: Queue[Outcome] = Queue()
    loop.start(blocking(end), "ask_model", outcomes.put)

    def named() -> list[str]:
        loop.look()
        return [record.message for record in caplog.records if record.message.startswith("ask_model blocks")]

    wait_for(named, 5)
    for _ in range(5):
        assert len(named()) == 1
    end.put(None)
    outcomes.get(timeout=5)
    assert "end.get(timeout=20)  # the line that blocks" in caplog.text
    assert "asyncio.to_thread" in caplog.text


def test_who_awaits_blocks_nobody_and_is_not_named(
    loop: Loop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.once.loop._BLOCKED_SECONDS", 0.2)
    began, outcomes = time.monotonic(), Queue[Outcome]()
    loop.start(asyncio.sleep(1, "done"), "waits", outcomes.put)

    def is_over() -> bool:
        loop.look()
        return time.monotonic() - began > 0.5

    wait_for(is_over)
    assert outcomes.get(timeout=5).value == "done"
    assert caplog.records == []


def test_before_anything_runs_there_is_nothing_to_look_at_and_nothing_to_cut() -> None:
    threads = threading.active_count()
    loop = Loop()
    loop.look()
    loop.cut(1)
    assert threading.active_count() == threads


def test_a_cut_cancels_what_runs_and_lets_it_clean_up(loop: Loop) -> None:
    outcomes, cleaned = Queue[Outcome](), []
    running = threading.Event()

    async def waits_for_ever() -> None:
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("yes")

    loop.start(waits_for_ever(), "handler", outcomes.put)
    assert running.wait(5)
    loop.cut(5)
    assert isinstance(outcomes.get(timeout=1).error, asyncio.CancelledError)
    assert (cleaned, loop.is_cut) == (["yes"], True)


def test_a_cut_waits_no_longer_than_it_was_told_for_who_does_not_end(loop: Loop, end: "SimpleQueue[None]") -> None:
    outcomes, began = Queue[Outcome](), time.monotonic()
    loop.start(blocking(end), "handler", outcomes.put)
    loop.cut(0.1)
    assert time.monotonic() - began < 2
    end.put(None)
    outcomes.get(timeout=5)


def test_a_fork_has_a_loop_of_its_own(loop: Loop) -> None:
    loop.value_of(returning(1))
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, str(loop.value_of(returning(42))).encode())
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"42"
    os.waitpid(child, 0)
    os.close(reading)
