"""What becomes of text that no database, or not this one, can hold: the one place where WeChat's text is cleaned."""

import functools
import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Dialect, String, Text, TypeDecorator
from sqlalchemy.dialects.mysql import MEDIUMTEXT

from app.errors import BadText

_HALF = re.compile("[\ud800-\udfff]")
_LAST_OF_ALL, _LAST_OF_UTF8MB3, _LAST_OF_ASCII = 0x10FFFF, 0xFFFF, 0x7F
_last = ContextVar("last", default=_LAST_OF_ALL)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def cleaned(value: Any) -> Any:
    """Return a text, or what JSON says, so that it can be kept and shown: without NUL, and with � for half an emoji."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value.replace("\0", ""))
    if isinstance(value, dict):
        return {cleaned(name): cleaned(one) for name, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, list) else value


def storable(text: str) -> str:
    """Return ``text`` as it is kept: cleaned, and where a database turned out to hold less, with ``?`` for that."""
    last, text = _last.get(), cleaned(text)
    return text if last == _LAST_OF_ALL else "".join(char if ord(char) <= last else "?" for char in text)


class CleanText(TypeDecorator[str]):
    """Text of up to so many characters, cleaned on its way into the database or a query."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what the driver gets."""
        return None if value is None else storable(value)


class _LongText(CleanText):
    impl = Text
    cache_ok = True


class _MediumText(CleanText):
    impl = MEDIUMTEXT  # type: ignore[assignment]
    cache_ok = True


LONG_CLEAN_TEXT = _LongText().with_variant(_MediumText(), "mysql")
"""The same, of any length; MySQL's own TEXT ends at 64 KB."""


def readable(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let ``function`` write ``?`` for the characters that the database cannot hold, as MySQL itself does.

    MySQL's utf8 has no emoji, latin1 no Chinese. It is for text that is shown or counted, not for what goes back.
    """

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for last in (_LAST_OF_ALL, _LAST_OF_UTF8MB3):
            with suppress(BadText):
                return _up_to(last, function, *args, **kwargs)
        return _up_to(_LAST_OF_ASCII, function, *args, **kwargs)

    return call


def _up_to(
    last: int, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    token = _last.set(last)
    try:
        return function(*args, **kwargs)
    finally:
        _last.reset(token)
