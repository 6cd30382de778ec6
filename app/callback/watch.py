"""Beside the requests: a thread of each process that says that it lives, and looks for what other processes stored."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping

from app.cache import Cache

DIED = "died"
"""What ``Watch.wait`` returns in place of JSON when the process that was to store it is dead."""

logger = logging.getLogger("wechat")
_LOOK_SECONDS = 0.1
_BEAT_SECONDS = 0.5
_BEAT_KEPT_SECONDS = 60
# Counted in looks, not in seconds: a machine that stood still for a while has not killed anybody.
_LOOKS_WITHOUT_BEAT = 20


class _Forks:
    """Counts the forks that led to this process: threads that were started before one are not here."""

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.count += 1


FORKS = _Forks()


class Sightings:
    """Tells who has died: whose beat has been the same at ``looks`` looks, one after another."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen: dict[str, tuple[str | None, int]] = {}

    def dead(self, beats: Mapping[str, str | None]) -> list[str]:
        """Look once more: ``beats`` are those of all who are of interest. Return who is dead."""
        before, self._seen = self._seen, {}
        for owner, beat in beats.items():
            last_beat, looks = before.get(owner, (None, 0))
            self._seen[owner] = beat, looks + 1 if beat == last_beat else 0
        return [owner for owner, (_, looks) in self._seen.items() if looks >= self._looks]

    def clear(self) -> None:
        """Judge nobody by what was seen so far."""
        self._seen.clear()


class _Waiter:
    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self.event = threading.Event()
        self.value: str | None = None

    def wake(self, value: str) -> None:
        if not self.event.is_set():
            self.value = value
            self.event.set()


class Watch:
    """Lets threads wait for a key of the cache: woken at once by their own process, within 0.1 s by any other.

    However many threads wait, the cache is asked once in 0.1 s, and not at all where no other process is in it.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._waiting: dict[str, list[_Waiter]] = {}
        self._foreign_wait = threading.Event()
        self._sightings = Sightings(_LOOKS_WITHOUT_BEAT)
        self._started_after = -1
        self._me = ""

    def me(self) -> str:
        """Return this process's name among all in the cache; the first call starts its beat."""
        if self._started_after != FORKS.count:
            self._start()
        return self._me

    def wait(self, key: str, seconds: float, owner: str | None = None) -> str | None:
        """Return what stands under ``key`` as soon as something does, or None after ``seconds``.

        Where ``owner`` is the process that will store it, DIED is returned when that process has gone: it said
        nothing for 2 s.
        """
        waiter = _Waiter(owner)
        with self._lock:
            self._waiting.setdefault(key, []).append(waiter)
        try:
            if (standing := self._cache.get(key)) is not None:
                return standing
            if owner not in (None, self._me) and not self._cache.shared:
                return DIED  # the only process there is has been started anew
            if owner != self._me:
                self._foreign_wait.set()
            waiter.event.wait(max(seconds, 0))
            return waiter.value
        finally:
            self._remove(key, waiter)

    def publish(self, key: str, value: str) -> None:
        """Wake who waits for ``key`` in this process; it must stand in the cache before."""
        if not self._waiting:
            return
        with self._lock:
            waiters = self._waiting.pop(key, ())
        for waiter in waiters:
            waiter.wake(value)

    def _remove(self, key: str, waiter: _Waiter) -> None:
        with self._lock:
            waiters = self._waiting.get(key, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(key, None)

    def _start(self) -> None:
        with self._lock:
            if self._started_after == FORKS.count:
                return
            self._me, self._waiting = secrets.token_hex(6), {}
            self._started_after = FORKS.count
        if self._cache.shared:
            try:
                threading.Thread(target=self._loop, name="watch", daemon=True).start()
            except RuntimeError as error:  # without it, others will take this process for dead
                logger.error("%s: TasksMax or the memory is too small for the threads", error)

    def _loop(self) -> None:
        beat, next_beat = 0, 0.0
        while True:
            if time.monotonic() >= next_beat:
                beat, next_beat = beat + 1, time.monotonic() + _BEAT_SECONDS
                self._cache.set(self.beat_key(self._me), str(beat), _BEAT_KEPT_SECONDS)
            if self._look():
                time.sleep(_LOOK_SECONDS)
            else:
                self._foreign_wait.wait(max(next_beat - time.monotonic(), 0))
                self._foreign_wait.clear()

    def _look(self) -> bool:
        """Look once for all that is waited for; return whether there is anything to look for."""
        with self._lock:
            owners_of = {key: {waiter.owner for waiter in waiters} for key, waiters in self._waiting.items()}
        keys = [key for key, owners in owners_of.items() if owners != {self._me}]
        owners = sorted(owner for owner in set().union(*owners_of.values()) if owner not in (None, self._me))
        found = self._cache.get_many(*keys, *map(self.beat_key, owners)) if keys else None
        if found is None:  # nothing to look for, or a cache that is down, by which nobody is judged
            self._sightings.clear()
            return bool(keys)
        for key, value in zip(keys, found, strict=False):
            if value is not None:
                self.publish(key, value)
        for owner in self._sightings.dead(dict(zip(owners, found[len(keys) :], strict=True))):
            self._wake_those_of(owner)
        return True

    def _wake_those_of(self, dead: str) -> None:
        with self._lock:
            waiters = [waiter for waiters in self._waiting.values() for waiter in waiters if waiter.owner == dead]
        for waiter in waiters:
            waiter.wake(DIED)

    def beat_key(self, owner: str) -> str:
        """Return the key whose value changes twice a second as long as ``owner`` lives."""
        return self._cache.key("process", owner)
