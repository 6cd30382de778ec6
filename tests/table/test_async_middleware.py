"""Plain and ``async def`` middleware around plain and ``async def`` handlers, in every combination."""

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import current_app

from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import wait_for

Open = Callable[..., Account]
Kind = str
KINDS = ("plain", "async")
CHAINS = [chain for length in (1, 2, 3) for chain in itertools.product(KINDS, repeat=length)]
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def handler_of(kind: Kind, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def handler(message: Any) -> Any:
        await asyncio.sleep(0)
        return plain(message)

    return plain if kind == "plain" else handler


def middleware_of(kind: Kind, name: str = "mw", ran_in: list[str] | None = None) -> Any:
    """Return a middleware that puts its name around the value, and notes the thread in which it ran."""

    def note() -> None:
        if ran_in is not None:
            ran_in.append(threading.current_thread().name)

    def wrapped(value: Any) -> Any:
        return f"{name}({value})" if isinstance(value, str) else value

    def plain(message: Any, call_next: Any) -> Any:
        note()
        return wrapped(call_next(message))

    async def asynchronous(message: Any, call_next: Any) -> Any:
        note()
        return wrapped(await call_next(message))

    return plain if kind == "plain" else asynchronous


def opened_with(account: Open, chain: tuple[Kind, ...], plain: Callable[[Any], Any], **settings: str) -> Account:
    """Open an account whose handler is the last of the chain, inside the middleware before it."""
    *around, innermost = chain
    middleware = [middleware_of(kind, f"m{number}") for number, kind in enumerate(around)]
    return account({"text": handler_of(innermost, plain)}, middleware, **settings)


def around(chain: tuple[Kind, ...], text: str) -> str:
    """Return what the middleware of a chain makes of ``text``."""
    for number in reversed(range(len(chain) - 1)):
        text = f"m{number}({text})"
    return text


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
@pytest.mark.parametrize("deliveries", ["1", "3"])
def test_each_gets_the_value_of_what_it_calls(account: Open, chain: tuple[Kind, ...], deliveries: str) -> None:
    opened = opened_with(account, chain, lambda message: message.content, WECHAT_DELIVERIES=deliveries)
    assert [opened.say("one"), opened.say("two")] == [around(chain, "one"), around(chain, "two")]


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_none_passes_through_as_silence(account: Open, chain: tuple[Kind, ...]) -> None:
    assert opened_with(account, chain, lambda message: None).say("hi") == ""


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), StopIteration()], ids=lambda e: type(e).__name__)
def test_what_a_handler_raises_is_answered_with_the_error_reply_and_the_next_message_as_ever(
    account: Open, chain: tuple[Kind, ...], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Any) -> str:
        if message.content == "raise":
            raise error
        return "done"

    opened = opened_with(account, chain, broken)
    assert opened.say("raise") == opened.settings.error_reply
    assert " failed on message " in caplog.text
    assert opened.say("hi") == around(chain, "done")


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_a_middleware_can_answer_for_a_handler_that_fails(account: Open, middleware: Kind, handler: Kind) -> None:
    def plain(message: Any, call_next: Any) -> Any:
        try:
            return call_next(message)
        except ValueError as error:
            return f"caught {error}"

    async def asynchronous(message: Any, call_next: Any) -> Any:
        try:
            return await call_next(message)
        except ValueError as error:
            return f"caught {error}"

    def broken(message: Any) -> str:
        raise ValueError("it")

    around = plain if middleware == "plain" else asynchronous
    assert account({"text": handler_of(handler, broken)}, [around]).say("hi") == "caught it"


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_a_middleware_need_not_call_what_is_inside(account: Open, middleware: Kind, handler: Kind) -> None:
    def plain(message: Any, call_next: Any) -> str:
        return "closed today"

    async def asynchronous(message: Any, call_next: Any) -> str:
        return "closed today"

    ran: list[Any] = []
    around = plain if middleware == "plain" else asynchronous
    assert account({"text": handler_of(handler, ran.append)}, [around]).say("hi") == "closed today"
    assert ran == []


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_a_middleware_may_call_twice(account: Open, middleware: Kind, handler: Kind) -> None:
    def plain(message: Any, call_next: Any) -> str:
        return f"{call_next(message)} {call_next(message)}"

    async def asynchronous(message: Any, call_next: Any) -> str:
        return f"{await call_next(message)} {await call_next(message)}"

    around = plain if middleware == "plain" else asynchronous
    assert account({"text": handler_of(handler, lambda message: "run")}, [around]).say("hi") == "run run"


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_a_plain_function_never_runs_on_the_loop_and_a_coroutine_always(account: Open, chain: tuple[Kind, ...]) -> None:
    ran_in: list[str] = []
    handler = handler_of(chain[-1], lambda message: ran_in.append(threading.current_thread().name))
    account({"text": handler}, [middleware_of(kind, "mw", ran_in) for kind in chain[:-1]]).say("hi")
    assert ["async" if name == "loop" else "plain" for name in ran_in] == list(chain)


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
@pytest.mark.parametrize("deliveries", ["1", "3"])
def test_application_context_variables_and_deadline_are_there_inside(
    account: Open, chain: tuple[Kind, ...], deliveries: str
) -> None:
    def sees(message: Any) -> str:
        return f"{current_app.config['WECHAT_PATH']} {WHO.get()} {message.deadline > 3}"

    opened = opened_with(account, chain, sees, WECHAT_DELIVERIES=deliveries)
    opened.app.before_request(lambda: WHO.set("the request") and None)
    assert opened.say("hi") == around(chain, "/wechat the request True")


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_the_session_is_kept(account: Open, chain: tuple[Kind, ...]) -> None:
    def counts(message: Any) -> str:
        message.session["count"] = message.session.get("count", 0) + 1
        return str(message.session["count"])

    opened = opened_with(account, chain, counts)
    assert [opened.say("hi"), opened.say("hi")] == [around(chain, "1"), around(chain, "2")]


@pytest.mark.parametrize("middleware", KINDS)
def test_middleware_goes_on_around_what_no_row_takes(account: Open, middleware: Kind) -> None:
    def plain(message: Any, call_next: Any) -> str:
        return f"instead of {call_next(message)}"

    async def asynchronous(message: Any, call_next: Any) -> str:
        return f"instead of {await call_next(message)}"

    around = plain if middleware == "plain" else asynchronous
    assert account({"image": print}, [around]).say("hi") == "instead of None"


def test_a_plain_handler_inside_async_middleware_blocks_nobody_else(account: Open) -> None:
    started, finish = threading.Event(), threading.Event()

    def slow(message: Any) -> str:
        if message.content == "quick":
            return "quick"
        started.set()
        finish.wait(10)
        return "at last"

    opened, shown = opened_with(account, ("async", "plain"), slow), []
    first = threading.Thread(target=lambda: shown.append(opened.say("slow")))
    first.start()
    assert started.wait(5)
    assert opened.say("quick") == "m0(quick)"
    finish.set()
    first.join()
    assert shown == ["m0(at last)"]


def test_a_plain_middleware_around_a_coroutine_blocks_nobody_else(account: Open) -> None:
    started, finish = threading.Event(), threading.Event()

    async def slow(message: Any) -> str:
        if message.content == "quick":
            return "quick"
        started.set()
        while not finish.is_set():
            await asyncio.sleep(0.01)
        return "at last"

    opened, shown = account({"text": slow}, [middleware_of("plain")]), []
    first = threading.Thread(target=lambda: shown.append(opened.say("slow")))
    first.start()
    assert started.wait(5)
    assert opened.say("quick") == "mw(quick)"
    finish.set()
    first.join()
    assert shown == ["mw(at last)"]


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_a_late_answer_is_that_of_the_whole_chain(account: Open, middleware: Kind, handler: Kind) -> None:
    finish = threading.Event()

    def slow(message: Any) -> str:
        if message.content == "1":
            return "nothing"
        finish.wait(20)
        return "done"

    async def slow_coroutine(message: Any) -> str:
        return await asyncio.to_thread(slow, message)

    innermost = slow if handler == "plain" else slow_coroutine
    opened = account({"text": innermost}, [middleware_of(middleware)], WECHAT_DELIVERIES="1")
    assert opened.say("question") == opened.settings.hold_reply
    finish.set()
    assert wait_for(lambda: opened.say("1"), 10) == "mw(done)"


@pytest.mark.parametrize("middleware", KINDS)
@pytest.mark.parametrize("handler", KINDS)
def test_a_redelivery_gets_the_same_answer_and_runs_nothing(account: Open, middleware: Kind, handler: Kind) -> None:
    runs: list[Any] = []

    def counts(message: Any) -> str:
        runs.append(message)
        return f"run {len(runs)}"

    opened = account({"text": handler_of(handler, counts)}, [middleware_of(middleware)])
    message = text_message(OPENID, "hi")
    assert [opened.deliver(message) for _ in range(3)] == ["mw(run 1)"] * 3


@pytest.mark.parametrize("middleware", KINDS)
def test_a_middleware_object_is_as_good_as_a_function(account: Open, middleware: Kind) -> None:
    class Plain:
        def __call__(self, message: Any, call_next: Any) -> Any:
            return f"object({call_next(message)})"

    class Asynchronous:
        async def __call__(self, message: Any, call_next: Any) -> Any:
            return f"object({await call_next(message)})"

    around = Plain() if middleware == "plain" else Asynchronous()
    assert account({"text": lambda message: "done"}, [around]).say("hi") == "object(done)"
