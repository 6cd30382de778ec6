"""The check of the handler table: what stops the start, and with which words."""

import functools
import re
from typing import Any

import pytest

from app.errors import ConfigError
from app.table.dispatch import Table


def ok(message: Any) -> str:
    return "ok"


async def asynchronous(message: Any) -> str:
    return "later"


async def async_middleware(message: Any, call_next: Any) -> Any:
    return await call_next(message)


class AsyncCallable:
    async def __call__(self, message: Any) -> str:
        return "later"


class YieldingCallable:
    def __call__(self, message: Any) -> Any:
        yield "never"


def generator(message: Any) -> Any:
    yield "never"


async def async_generator(message: Any) -> Any:
    yield "never"


def generating_middleware(message: Any, call_next: Any) -> Any:
    yield call_next(message)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({("text",): ok}, "row ('text',) has the wrong shape"),
        ({("event", "click", "a", "b"): ok}, "has the wrong shape"),
        ({("text", "a", "b"): ok}, "has the wrong shape"),
        ({("image", "a"): ok}, "has the wrong shape"),
        ({("*", "a"): ok}, "has the wrong shape"),
        ({("event", "scan", 7): ok}, "has the wrong shape"),
        ({("event", "click", re.compile("x")): ok}, "has the wrong shape"),
        ({("text", re.compile(b"x")): ok}, "has the wrong shape"),
        ({(re.compile("text"), re.compile("x")): ok}, "has the wrong shape"),
        ({("text", ""): ok}, "has the wrong shape"),
        ({7: ok}, "row 7 has the wrong shape"),
        ({"": ok}, "has the wrong shape"),
        ({("image", re.compile("x")): ok}, "can never match"),
        ({"texts": ok}, "row 'texts' has an unknown message type 'texts'; expected one of device_event, "),
        ({("event", "subscrib"): ok}, "did you mean 'subscribe'?"),
        ({("event", "subscirbe"): ok}, "did you mean 'subscribe'?"),
        ({("event", "clik", "V1"): ok}, "did you mean 'click'?"),
        ({("event", "scna"): ok}, "did you mean 'scan'?"),
        ({("event", "wificconnected"): ok}, "did you mean 'wificonnected'?"),
        ({("event", "subscribe", "qrscene_7"): ok}, "expected '7'"),
        ({("event", "CLICK"): ok, ("event", "click"): ok}, "is the same row as ('event', 'CLICK')"),
        ({("text", "a"): ok, ("text", " a "): ok}, "is the same row as ('text', 'a')"),
        ({"text": "hello"}, "a value of type str that cannot be called"),
        ({"text": None}, "cannot be called"),
        ({"text": lambda: "x"}, "cannot be called with 1 argument(s)"),
        ({"text": lambda a, b: "x"}, "cannot be called with 1 argument(s)"),
        ({"text": generator}, "row 'text' is a generator; expected a function handler(message) that returns"),
        ({"text": functools.partial(generator)}, "is a generator"),
        ({"text": YieldingCallable()}, "is a generator"),
        ({"text": async_generator}, "is a generator"),
        ({("event", "viewminiprogram"): ok}, "did you mean 'view_miniprogram'? If not: re.compile('viewminiprogram')"),
        (["text"], "HANDLERS is list; expected a dict"),
    ],
)
def test_a_row_that_cannot_be_meant_stops_the_start(rows: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        Table(rows)


def test_all_wrong_rows_are_named_at_once() -> None:
    rows: dict[Any, Any] = {"texts": ok, "image": 7, "voice": ok}
    with pytest.raises(ConfigError) as raised:
        Table(rows, [ok])  # type: ignore[list-item]
    assert [problem.split()[1] for problem in raised.value.problems[:2]] == ["'texts'", "'image'"]
    assert raised.value.problems[2].startswith("MIDDLEWARE")


def test_a_middleware_that_is_no_list_is_named() -> None:
    with pytest.raises(ConfigError, match="MIDDLEWARE is function; expected a list"):
        Table({"text": ok}, ok)  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", [asynchronous, AsyncCallable(), functools.partial(asynchronous)])
def test_a_handler_may_be_async(handler: Any) -> None:
    assert Table({"text": handler}).rows[0].handler is handler


def test_a_middleware_may_be_async() -> None:
    assert Table({"text": ok}, [async_middleware]).middleware[0].function is async_middleware


def test_a_middleware_that_yields_is_named() -> None:
    with pytest.raises(ConfigError, match=r"MIDDLEWARE .*generating_middleware.* is a generator; expected a function"):
        Table({"text": ok}, [generating_middleware])
