"""A row of HANDLERS and a middleware, each an object made once for dispatch, log, phone, console and shell."""

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from app.once.loop import LOOP, in_thread
from app.table.commands import usage_of

Handler = Callable[[Any], Any]
Middleware = Callable[[Any, Handler], Any]


@dataclass(frozen=True, slots=True, eq=False)  # equal only to itself: not every callable can be compared or hashed
class Function:
    """A function of HANDLERS or MIDDLEWARE: its name as its author wrote it, and where it is.

    ``file`` is named as an import finds it; it is "" and ``line`` 0 where there is no source.
    """

    function: Callable[..., Any]
    name: str
    file: str
    line: int
    is_async: bool


@dataclass(frozen=True, slots=True, eq=False)
class Row(Function):
    """A row of HANDLERS: its key as it was written and as Python, and its handler.

    ``call(message)`` runs the handler inside the middleware, and returns a coroutine where the row ``is_async``. That
    coroutine ``takes_thread`` where not all inside it is ``async def``.
    """

    key: Any
    text: str
    call: Handler
    takes_thread: bool

    @property
    def handler(self) -> Handler | None:
        """The function that answers; None in the row of what no row takes."""
        return None if self.key is None else self.function


def describe(function: Callable[..., Any]) -> Function:
    """Return what there is to say about a middleware."""
    return Function(function, *_about(function))


def row_of(key: Any, handler: Handler, middleware: Sequence[Middleware] = ()) -> Row:
    """Return the row for an item of HANDLERS, inside ``middleware``, of which the first is outermost."""
    call, is_async = compose(handler, middleware)
    name, file, line, _ = _about(handler)
    return Row(handler, name, file, line, is_async, key, _as_python(key), call, _takes_thread(handler, middleware))


def no_row(middleware: Sequence[Middleware]) -> Row:
    """Return the row of what no row takes: the middleware alone."""
    call, is_async = compose(_take_none, middleware)
    return Row(_take_none, "-", "", 0, is_async, None, "", call, _takes_thread(_take_none, middleware))


def compose(handler: Handler, middleware: Sequence[Middleware]) -> tuple[Handler, bool]:
    """Return ``handler`` inside ``middleware``, and whether that is a coroutine function."""
    call, is_async = handler, is_such(handler, inspect.iscoroutinefunction)
    for function in reversed(middleware):
        call, is_async = _wrapped(function, call, is_async)
    return call, is_async


def is_such(function: Any, test: Callable[[Any], bool]) -> bool:
    """Return whether ``test``, one of ``inspect``'s, holds for a function, or for the ``__call__`` of an object."""
    inner = _without_partial(function)
    return test(inner) or test(type(inner).__call__)


def has_pattern(key: Any) -> bool:
    """Return whether a key is compared by a regular expression."""
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], re.Pattern)


def folded(key: Any) -> Any:
    """Return what a key is compared by: types and events in lower case, texts without outer space, keys as they are."""
    if isinstance(key, str):
        return key.lower()
    msg_type, detail, *rest = key
    return (msg_type.lower(), detail.strip() if msg_type.lower() == "text" else detail.lower(), *rest)


def _about(function: Any) -> tuple[str, str, int, bool]:
    inner = _without_partial(function)
    name = str(getattr(inner, "__qualname__", type(inner).__qualname__)).rpartition("<locals>.")[2]
    return name, *_place(inner), is_such(function, inspect.iscoroutinefunction)


def _place(function: Any) -> tuple[str, int]:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if not isinstance(code, CodeType):
        return "", 0
    folders = (os.path.join(os.path.abspath(folder), "") for folder in sys.path)  # uWSGI's are "." and ""
    folder = max(filter(code.co_filename.startswith, folders), key=len, default="")
    return code.co_filename.removeprefix(folder), code.co_firstlineno


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _as_python(key: Any) -> str:
    if not isinstance(key, tuple):
        return repr(key)
    return f"({', '.join(map(_part_as_python, key))})"


def _part_as_python(part: Any) -> str:
    if not isinstance(part, re.Pattern):
        return repr(part)
    usage = usage_of(part)
    return f"command({usage!r})" if usage else f"re.compile({part.pattern!r})"


def _takes_thread(handler: Handler, middleware: Sequence[Middleware]) -> bool:
    return not all(is_such(function, inspect.iscoroutinefunction) for function in (handler, *middleware))


def _take_none(message: Any) -> None:
    return None


def _wrapped(function: Middleware, call: Handler, is_async: bool) -> tuple[Handler, bool]:
    if is_such(function, inspect.iscoroutinefunction):
        inner = call if is_async else in_thread(call)
        return lambda message: function(message, inner), True
    if is_async:  # the thread of a plain middleware waits for what it calls
        return lambda message: function(message, lambda passed_on: LOOP.value_of(call(passed_on))), False
    return lambda message: function(message, call), False
