"""Claims as the cache holds them: who runs a message's handler, told apart from all other claims, and since when."""

import itertools
import json
import time

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
    """Return the process that has claimed."""
    return str(json.loads(claim)[0])


def since_of(claim: str) -> float:
    """Return when it was claimed, in seconds since 1970."""
    return float(json.loads(claim)[2])
