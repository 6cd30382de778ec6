"""Where a handler runs: inline, in a thread, or on the loop; how many may, and what becomes of the answer."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest

from app.errors import Busy
from app.once.answer import Answer
from app.once.loop import LOOP
from app.once.runs import INLINE, MOST_ON_LOOP, ON_LOOP, THREAD, Runs
from tests.once.parts import ASYNC, PLAIN, Handled, Question, Row
from tests.servers import wait_for

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def runs_of(handler: Callable[[Any], Any] = lambda message: "done", most: int = 20, inline: int = 5) -> Runs:
    return Runs(Handled(handler), most, inline)


def answer_beside(runs: Runs, message: Question) -> Answer | None:
    """Run the handler where it belongs when it may not run inline, and wait for its answer."""
    answers: Queue[Answer | None] = Queue()
    runs.start(message, runs.enter(message, may_be_inline=False), answers.put)
    return answers.get(timeout=5)


def places(runs: Runs, number: int, **given: Any) -> list[str]:
    return [runs.enter(Question(**given), may_be_inline=True) for _ in range(number)]


def test_a_few_run_inline_and_more_in_threads() -> None:
    assert places(runs_of(inline=2), 4) == [INLINE, INLINE, THREAD, THREAD]


def test_who_may_not_run_inline_runs_in_a_thread_and_a_coroutine_always_on_the_loop() -> None:
    runs = runs_of()
    assert runs.enter(Question(), may_be_inline=False) == THREAD
    assert [runs.enter(Question(row=ASYNC), may_be_inline=may) for may in (True, False)] == [ON_LOOP, ON_LOOP]


def test_the_pickup_word_waits_for_its_answer_without_a_thread() -> None:
    async def until_there(message: Any) -> str:
        await there.wait()
        return "picked up"

    there, answers = asyncio.Event(), Queue[Answer | None]()
    runs, word = runs_of(until_there), Question(is_pickup=True)
    place = runs.enter(word, may_be_inline=True)
    assert place == THREAD
    runs.start(word, place, answers.put)
    wait_for(lambda: any(task.get_coro() for task in asyncio.all_tasks(LOOP._running())) and runs.beside == 0)
    LOOP._running().call_soon_threadsafe(there.set)
    assert answers.get(timeout=5) == Answer("picked up", "replied")


@pytest.mark.parametrize(("most", "of_one_row"), [(1, 1), (2, 1), (10, 9), (1000, 900)])
def test_one_row_gets_nine_tenths_and_another_one_the_rest(most: int, of_one_row: int) -> None:
    runs = runs_of(most=most)
    slow, quick = Row("slow"), Row("quick")
    places(runs, of_one_row, row=slow)
    with pytest.raises(Busy):
        runs.enter(Question(row=slow), may_be_inline=True)
    places(runs, most - of_one_row, row=quick)
    with pytest.raises(Busy):
        runs.enter(Question(row=quick), may_be_inline=True)


def test_who_leaves_makes_room() -> None:
    runs = runs_of(most=1, inline=1)
    for _ in range(3):
        place = runs.enter(message := Question(), may_be_inline=True)
        assert place == INLINE
        runs.leave(message, place)


def test_coroutines_do_not_count_against_plain_handlers_and_have_a_bound_of_their_own() -> None:
    runs = runs_of(most=1)
    assert set(places(runs, MOST_ON_LOOP, row=ASYNC)) == {ON_LOOP}
    with pytest.raises(Busy):
        places(runs, 1, row=ASYNC)
    places(runs, 1)


def test_a_plain_handler_behind_async_middleware_counts_as_one_of_the_plain_ones() -> None:
    runs, behind = runs_of(most=10), Row("behind", is_async=True, takes_thread=True)
    assert set(places(runs, 9, row=behind)) == {ON_LOOP}
    with pytest.raises(Busy):
        places(runs, 1, row=behind)
    places(runs, 1)
    with pytest.raises(Busy):
        places(runs, 1)
    runs.leave(Question(row=behind), ON_LOOP)
    places(runs, 1, row=behind)


def test_what_can_wait_leaves_half_to_those_who_cannot() -> None:
    runs, message = runs_of(most=10), Question()
    entered = [runs.enter(message, may_be_inline=False) for _ in range(4)]
    assert runs.has_room_beside()
    entered.append(runs.enter(message, may_be_inline=False))
    assert not runs.has_room_beside()
    runs.leave(message, entered[0])
    assert runs.has_room_beside()


def test_an_inline_run_is_in_the_thread_of_its_request_and_makes_room_when_it_ends() -> None:
    runs = runs_of(lambda message: threading.get_ident(), most=1, inline=1)
    for _ in range(3):
        runs.enter(message := Question(), may_be_inline=True)
        assert runs.inline(message).body == str(threading.get_ident())


def test_an_inline_run_that_breaks_off_makes_room_too() -> None:
    class Broken(Handled):
        async def _answer(self, message: Any) -> Answer:
            raise KeyboardInterrupt

    runs = Runs(Broken(print), 1, 1)
    for _ in range(3):
        runs.enter(message := Question(), may_be_inline=True)
        with pytest.raises(KeyboardInterrupt):
            runs.inline(message)


@pytest.mark.parametrize("row", [PLAIN, ASYNC], ids=["thread", "loop"])
def test_a_run_beside_the_requests_brings_its_answer_and_makes_room(row: Row) -> None:
    async def coroutine(message: Any) -> str:
        await asyncio.sleep(0)
        return "done"

    runs = runs_of(coroutine if row.is_async else lambda message: "done", most=1)
    for _ in range(3):
        answer = answer_beside(runs, Question(row=row))
        assert answer
        assert answer.body == "done"
    wait_for(lambda: runs.beside == 0)


@pytest.mark.parametrize("row", [PLAIN, ASYNC], ids=["thread", "loop"])
def test_a_run_sees_the_context_in_which_it_began(row: Row) -> None:
    async def coroutine(message: Any) -> str:
        return WHO.get()

    WHO.set("the request")
    answer = answer_beside(runs_of(coroutine if row.is_async else lambda message: WHO.get()), Question(row=row))
    assert answer
    assert answer.body == "the request"


@pytest.mark.parametrize("row", [PLAIN, ASYNC], ids=["thread", "loop"])
def test_the_applications_context_is_open_until_the_answer_is_brought(row: Row) -> None:
    seen: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    async def coroutine(message: Any) -> str:
        seen.append("ran")
        return "done"

    handled = Handled(coroutine if row.is_async else lambda message: seen.append("ran"))
    handled.context = context
    runs, message = Runs(handled, 1, 1), Question(row=row)
    runs.start(message, runs.enter(message, may_be_inline=False), lambda answer: seen.append("brought"))
    wait_for(lambda: seen == ["opened", "ran", "brought", "closed"])


def test_a_coroutine_that_ends_before_its_request_has_let_go_of_it_is_answered_each_time() -> None:
    async def quick(message: Any) -> str:
        return "done"

    runs, answers = runs_of(quick), Queue[Answer | None]()
    for _ in range(300):
        runs.start(message := Question(row=ASYNC), runs.enter(message, may_be_inline=True), answers.put)
    assert {answer and answer.body for answer in (answers.get(timeout=5) for _ in range(300))} == {"done"}
    wait_for(lambda: runs.beside == 0)


def test_the_answer_of_a_coroutine_is_not_brought_on_the_loop() -> None:
    async def coroutine(message: Any) -> str:
        return threading.current_thread().name

    runs, found, message = runs_of(coroutine), Queue[tuple[str, str]](), Question(row=ASYNC)
    runs.start(
        message, ON_LOOP, lambda answer: found.put((answer.body if answer else "", threading.current_thread().name))
    )
    assert found.get(timeout=5) == ("loop", "resume")


@pytest.mark.parametrize("row", [PLAIN, ASYNC], ids=["thread", "loop"])
def test_a_run_that_breaks_off_says_that_there_is_no_answer(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    def broken(message: Any) -> Any:
        raise SystemExit

    async def broken_coroutine(message: Any) -> Any:
        raise SystemExit

    runs = runs_of(broken_coroutine if row.is_async else broken, most=1)
    for _ in range(2):
        assert answer_beside(runs, Question(row=row)) is None
    assert caplog.text.count("a run broke off") == 2


def test_without_a_thread_to_be_had_a_handler_is_busy_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runs, message = runs_of(most=1), Question()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(Busy):
                runs.start(message, runs.enter(message, may_be_inline=False), print)
    answer = answer_beside(runs, message)
    assert answer
    assert answer.body == "done"


def test_what_is_at_work_beside_the_requests_is_counted() -> None:
    end = threading.Event()
    runs = runs_of(lambda message: end.wait(10))
    message = Question()
    for _ in range(3):
        runs.start(message, runs.enter(message, may_be_inline=False), lambda answer: None)
    wait_for(lambda: runs.beside == 3)
    end.set()
    wait_for(lambda: runs.beside == 0)
