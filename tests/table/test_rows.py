"""A row of HANDLERS: what it says of its key and its handler."""

import functools
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from app.table.dispatch import Table
from app.table.rows import describe, row_of


class Callable_:
    def __call__(self, message: Any) -> str:
        return "called"

    def method(self, message: Any) -> str:
        return "method"


class AsyncCallable:
    async def __call__(self, message: Any) -> str:
        return "called"

    async def method(self, message: Any) -> str:
        return "method"


class Unhashable(Callable_):
    __hash__ = None  # type: ignore[assignment]


def plain(message: Any) -> str:
    return "plain"


async def asynchronous(message: Any) -> str:
    return "async"


@functools.wraps(plain)
def wrapped(message: Any) -> str:
    return plain(message)


def middleware(message: Any, call_next: Any) -> Any:
    return call_next(message)


@pytest.mark.parametrize(
    "handler", [Callable_(), Callable_().method, functools.partial(lambda a, message: a, "x"), str]
)
def test_anything_that_takes_one_argument_is_a_handler(handler: Any) -> None:
    assert [row.handler for row in Table({"text": handler}).rows] == [handler]


def test_rows_keep_the_order_and_the_keys_of_their_author() -> None:
    keys = ["*", ("Event", "SCAN", "poster-7"), ("text", " 帮助 "), "text"]
    assert [row.key for row in Table(dict.fromkeys(keys, plain)).rows] == keys


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("*", "'*'"),
        (("event", "click", "V1"), "('event', 'click', 'V1')"),
        (("text", re.compile(r"天气\s*")), r"('text', re.compile('天气\\s*'))"),
    ],
)
def test_a_rows_text_is_its_key_as_python(key: Any, text: str) -> None:
    assert row_of(key, plain).text == text


def test_a_rows_name_is_its_authors() -> None:
    def local(message: Any) -> None: ...

    handlers: list[Any] = [local, Callable_().method, Callable_(), asynchronous, functools.partial(plain), wrapped]
    names = [row_of("text", handler).name for handler in handlers]
    assert names == ["local", "Callable_.method", "Callable_", "asynchronous", "plain", "plain"]


@pytest.mark.parametrize(
    ("handler", "at"),
    [
        (plain, plain),
        (wrapped, plain),
        (functools.partial(plain), plain),
        (Callable_().method, Callable_.method),
        (Callable_(), Callable_.__call__),
    ],
)
def test_a_rows_place_is_where_its_author_wrote_it(handler: Any, at: Any) -> None:
    row = row_of("text", handler)
    assert (row.file, row.line) == ("tests/table/test_rows.py", at.__code__.co_firstlineno)


@pytest.mark.parametrize("handler", [print, str, functools.partial(print)])
def test_a_handler_without_source_has_no_place(handler: Any) -> None:
    row = row_of("text", handler)
    assert (row.file, row.line) == ("", 0)


@pytest.mark.parametrize("folder", [".", "", "{cwd}", "{cwd}/"])
def test_a_rows_file_is_named_as_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / "placed").mkdir()
    (tmp_path / "placed" / "bot.py").write_text("\ndef echo(message): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(folder.format(cwd=tmp_path))
    bot = importlib.import_module("placed.bot")
    for name in ("placed.bot", "placed"):
        del sys.modules[name]
    row = row_of("text", bot.echo)
    assert (row.file, row.line) == ("placed/bot.py", 2)


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (plain, False),
        (Callable_(), False),
        (print, False),
        (asynchronous, True),
        (functools.partial(asynchronous), True),
        (AsyncCallable(), True),
        (AsyncCallable().method, True),
        (functools.partial(AsyncCallable()), True),
    ],
)
def test_a_row_knows_whether_its_handler_is_async(handler: Any, is_async: bool) -> None:
    assert row_of("text", handler).is_async == is_async


def test_a_row_can_be_a_key_where_its_handler_cannot() -> None:
    rows = Table({"text": Unhashable(), "image": Unhashable()}).rows
    assert len(set(rows)) == 2


def test_a_middleware_is_described_like_a_handler() -> None:
    described = describe(middleware)
    assert (described.name, described.line) == ("middleware", middleware.__code__.co_firstlineno)
    assert [one.function for one in Table({"text": plain}, [middleware]).middleware] == [middleware]
