"""The check of the handler table, when the service starts."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import ConfigError
from app.table.known import EVENTS, MESSAGE_TYPES
from app.table.rows import folded, has_pattern, is_such

_SHAPES = '"TYPE", ("text", "words"), ("text", re.compile(...)), ("event", "EVENT"), ("event", "EVENT", "KEY") or "*"'


def check(handlers: Any, middleware: Any) -> None:
    """Raise ConfigError that names every row and every middleware that cannot be meant."""
    if not isinstance(middleware, list | tuple):
        raise ConfigError(f"MIDDLEWARE is {type(middleware).__name__}; expected a list of functions")
    if not isinstance(handlers, Mapping):
        raise ConfigError(f"HANDLERS is {type(handlers).__name__}; expected a dict of rows")
    problems = list(_wrong_rows(handlers))
    for function in middleware:
        if wrong := _wrong_callable(function, 2, "middleware(message, call_next)"):
            problems.append(f"MIDDLEWARE {function!r} {wrong}")
    if problems:
        raise ConfigError.listing("the handler table is wrong", problems)


def _wrong_rows(handlers: Mapping[Any, Any]) -> Iterator[str]:
    seen: dict[Any, Any] = {}
    for key, handler in handlers.items():
        wrong = _wrong_key(key) or _wrong_callable(handler, 1, "handler(message)")
        compared = key if wrong or has_pattern(key) else folded(key)
        if not wrong and compared in seen:
            wrong = f"is the same row as {seen[compared]!r}"
        seen.setdefault(compared, key)
        if wrong:
            yield f"row {key!r} {wrong}"


def _wrong_key(key: Any) -> str:
    parts = key if isinstance(key, tuple) and 2 <= len(key) <= 3 else (key,)
    texts = parts[:1] if has_pattern(key) else parts
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
    if is_such(function, inspect.isgeneratorfunction) or is_such(function, inspect.isasyncgenfunction):
        return f"is a generator; expected a function {expected} that returns the reply instead of yielding it"
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return f"cannot be called with {arguments} argument(s); expected {expected}"
    except ValueError:  # a builtin without a signature
        return ""
    return ""
