"""Step 5: the handler table, checked when the service starts, and the lookup of a message in it."""

import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from app.callback.known import EVENTS, MESSAGE_TYPES
from app.errors import ConfigError

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
Handler = Callable[[Any], Any]
Middleware = Callable[[Any, Handler], Any]
_SHAPES = '"TYPE", ("text", "words"), ("text", re.compile(...)), ("event", "EVENT"), ("event", "EVENT", "KEY") or "*"'


class Table:
    """HANDLERS and MIDDLEWARE, compiled.

    Raises ConfigError that names every row that cannot be meant.
    """

    def __init__(self, handlers: Mapping[Any, Handler], middleware: Iterable[Middleware] = ()) -> None:
        self.rows = handlers
        if not isinstance(middleware, list | tuple):
            raise ConfigError(f"MIDDLEWARE is {type(middleware).__name__}; expected a list of functions")
        self.middleware = tuple(middleware)
        _check(handlers, self.middleware)
        self._exact = {_folded(row[0]): row for row in handlers.items() if not _has_pattern(row[0])}
        self._patterns = [(row[0][0].lower(), row[0][1], row) for row in handlers.items() if _has_pattern(row[0])]
        self._call: Handler = _call_handler
        for function in reversed(self.middleware):
            self._call = _wrapped(function, self._call)

    def find(self, message: Any) -> Handler | None:
        """Return the most specific row's handler, and leave a pattern's match in ``message.match``."""
        return self.find_row(message)[1]

    def find_row(self, message: Any) -> tuple[Any, Handler | None]:
        """Return the most specific row: its key as it was written, and its handler; None for both where none is."""
        msg_type, detail, key = _place(message)
        for place in ((msg_type, detail, key), (msg_type, detail)):
            if place in self._exact:
                return self._exact[place]
        for pattern_type, pattern, row in self._patterns:
            if pattern_type == msg_type and detail is not None and (match := pattern.fullmatch(detail)):
                message.match = match
                return row
        return self._exact.get(msg_type) or self._exact.get("*") or (None, None)

    def takes_click(self, key: str) -> bool:
        """Return whether a row is there for the click on ``key``, other than those for any event."""
        in_patterns = any(kind == "event" and pattern.fullmatch("click") for kind, pattern, _ in self._patterns)
        return in_patterns or not self._exact.keys().isdisjoint((("event", "click", key), ("event", "click")))

    def call(self, handler: Handler | None, message: Any) -> Any:
        """Return what the middleware and, inside it, ``handler`` make of ``message``; no handler makes None.

        Each middleware passes on the message that it got.
        """
        message._handler = handler
        return self._call(message)


def handler_name(handler: Any) -> str:
    """Return the handler's name as its author wrote it."""
    return str(getattr(handler, "__qualname__", type(handler).__qualname__)).rpartition("<locals>.")[2]


def handler_place(handler: Any) -> tuple[str, int]:
    """Return the file, as its import names it, and the line of the handler's function; "" and 0 where it has none."""
    code = getattr(inspect.unwrap(handler), "__code__", None)
    if code is None:
        return "", 0
    folders = (os.path.join(os.path.abspath(folder), "") for folder in sys.path)  # uWSGI's are "." and ""
    folder = max(filter(code.co_filename.startswith, folders), key=len, default="")
    return code.co_filename.removeprefix(folder), code.co_firstlineno


@lru_cache(maxsize=1024)
def as_python(key: Any) -> str:
    """Return a row's key as it could be written in HANDLERS."""
    if not isinstance(key, tuple):
        return repr(key)
    parts = (f"re.compile({part.pattern!r})" if isinstance(part, re.Pattern) else repr(part) for part in key)
    return f"({', '.join(parts)})"


def row_for(message: Any) -> str:
    """Return the row that would take ``message``, as Python; nothing of what the fan wrote is in it."""
    msg_type, detail, key = _place(message)
    place: Any = msg_type if msg_type in MESSAGE_TYPES else "*"
    if message.event is not None:
        place = (msg_type, detail, key) if key else (msg_type, detail)
    return f"{place!r}: your_handler,"


def _place(message: Any) -> tuple[str, str | None, Any]:
    if message.event is not None:
        scanned = message.event in ("subscribe", "scan") and message.scene is not None
        return message.msg_type, message.event, message.scene if scanned else message.event_key
    content = message.fields.get("Content") if message.msg_type == "text" else None
    return message.msg_type, content.strip() if isinstance(content, str) else None, None


def _call_handler(message: Any) -> Any:
    return None if message._handler is None else message._handler(message)


def _wrapped(function: Middleware, call_next: Handler) -> Handler:
    return lambda message: function(message, call_next)


def _folded(key: Any) -> Any:
    """Compare types and events in lower case, texts without outer space, keys as they are."""
    if isinstance(key, str):
        return key.lower()
    msg_type, detail, *rest = key
    return (msg_type.lower(), detail.strip() if msg_type.lower() == "text" else detail.lower(), *rest)


def _has_pattern(key: Any) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], re.Pattern)


def _check(handlers: Any, middleware: tuple[Any, ...]) -> None:
    if not isinstance(handlers, Mapping):
        raise ConfigError(f"HANDLERS is {type(handlers).__name__}; expected a dict of rows")
    problems = []
    seen: dict[Any, Any] = {}
    for key, handler in handlers.items():
        wrong = _wrong_key(key) or _wrong_callable(handler, 1, "handler(message)")
        folded = key if wrong or _has_pattern(key) else _folded(key)
        if not wrong and folded in seen:
            wrong = f"is the same row as {seen[folded]!r}"
        seen.setdefault(folded, key)
        if wrong:
            problems.append(f"row {key!r} {wrong}")
    for function in middleware:
        if wrong := _wrong_callable(function, 2, "middleware(message, call_next)"):
            problems.append(f"MIDDLEWARE {function!r} {wrong}")
    if problems:
        raise ConfigError.listing("the handler table is wrong", problems)


def _wrong_key(key: Any) -> str:
    parts = key if isinstance(key, tuple) and 2 <= len(key) <= 3 else (key,)
    texts = parts[:1] if _has_pattern(key) else parts
    if not all(isinstance(part, str) and part.strip() for part in texts):
        return f"has the wrong shape; expected {_SHAPES}"
    msg_type = parts[0].lower()
    if msg_type != "*" and msg_type not in MESSAGE_TYPES:
        return f"has an unknown message type {parts[0]!r}; expected one of {', '.join(sorted(MESSAGE_TYPES))}, *"
    if len(parts) == 1:
        return ""
    return _wrong_detail(msg_type, parts)


def _wrong_detail(msg_type: str, parts: tuple[Any, ...]) -> str:
    events = msg_type in ("event", "device_event", "device_status")
    if isinstance(parts[1], re.Pattern):
        if not isinstance(parts[1].pattern, str) or msg_type == "*":
            return f"has the wrong shape; expected {_SHAPES}"
        return "" if events or msg_type == "text" else f"can never match; a message of type {msg_type} has no text"
    if msg_type == "text" and len(parts) == 2:
        return ""
    if not events:
        return f"has the wrong shape; expected {_SHAPES}"
    event = parts[1].lower()
    if event in ("subscribe", "scan") and parts[2:] and parts[2].startswith("qrscene_"):
        return f"has WeChat's prefix in its scene; expected {parts[2].removeprefix('qrscene_')!r}"
    return _wrong_event(event) if msg_type == "event" else ""


def _wrong_event(event: str) -> str:
    if event in EVENTS:
        return ""
    near = difflib.get_close_matches(event, EVENTS, 1, cutoff=0.8)
    near = near or [known for known in EVENTS if sorted(known) == sorted(event)]
    return f"looks like a misspelt event; did you mean {near[0]!r}? If not: re.compile({event!r})" if near else ""


def _wrong_callable(function: Any, arguments: int, expected: str) -> str:
    if not callable(function):
        return f"has a value of type {type(function).__name__} that cannot be called; expected a function {expected}"
    if any(is_other(code) for code in (function, type(function).__call__) for is_other in _NOT_PLAIN):
        return f"is an async function or a generator, which nothing runs; expected a plain function {expected}"
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return f"cannot be called with {arguments} argument(s); expected {expected}"
    except ValueError:  # a builtin without a signature
        return ""
    return ""
