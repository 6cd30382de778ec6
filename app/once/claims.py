"""Claims as the cache holds them: who runs a message's handler, told apart from all other claims, and since when."""

import itertools
import time
from typing import Any

from app.cache import is_numbers, understood
from app.once.liveness import Heartbeat


class Claims:
    """Makes the claims of this process."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._serial = itertools.count(1)

    def mine(self) -> str:
        """Return a claim of this process."""
        return self._claim(self._heartbeat.name)

    def of_nobody(self) -> str:
        """Return a claim that says that nobody has begun."""
        return self._claim("")

    def _claim(self, owner: str) -> str:
        # Its serial number has the process's name: two claims of nobody must not be the same.
        return f'["{owner}","{self._heartbeat.name}-{next(self._serial)}",{time.time():.1f}]'


def owner_of(claim: str) -> str:
    """Return the process that has claimed, "" where nobody can tell."""
    claimed = understood(claim, _is_claim)
    return str(claimed[0]) if claimed else ""


def since_of(claim: str) -> float:
    """Return when it was claimed, in seconds since 1970."""
    claimed = understood(claim, _is_claim)
    return float(claimed[2]) if claimed else time.time()


def _is_claim(value: Any) -> bool:
    owner, _, since = value
    return isinstance(owner, str) and is_numbers(since)
