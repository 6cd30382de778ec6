"""What the doctor says: one line for each thing that was looked at."""

from collections.abc import Iterator
from typing import NamedTuple

OK, WARNING, WRONG = "ok", "warning", "wrong"


class Finding(NamedTuple):
    """What was ``found`` of the thing called ``name``, and what to do about it, "" where nothing is.

    ``status`` is "ok", "warning" for what works and may not for ever or for everybody, or "wrong".
    """

    name: str
    status: str
    found: str
    todo: str = ""


Findings = Iterator[Finding]


def ok(name: str, found: str) -> Finding:
    """Return a line that asks for nothing."""
    return Finding(name, OK, found)


def warning(name: str, found: str, todo: str) -> Finding:
    """Return a line about what works, but."""
    return Finding(name, WARNING, found, todo)


def wrong(name: str, found: str, todo: str) -> Finding:
    """Return a line about what does not work."""
    return Finding(name, WRONG, found, todo)
